# What mlport needs in a Databricks workspace: a schema and a volume, a folder for its runner, a policy that jobs' clusters keep to,
# a scope for the secrets of jobs, and the least privileges; if you want them, a SQL warehouse for captured requests and, on AWS, a bucket for shared state.
#
#   terraform init && terraform apply -var catalog=main -var region=eu-central-1 -var 'users=["ml-engineers"]' -var state_bucket=acme-mlport-state

terraform {
  required_version = ">= 1.5"
  required_providers {
    databricks = {
      source  = "databricks/databricks"
      version = ">= 1.50"
    }
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "catalog" {
  type        = string
  description = "A Unity Catalog catalog that is there."
}

variable "schema" {
  type        = string
  default     = "mlport"
  description = "The schema that models, captured requests and the volume are made in."
}

variable "users" {
  type        = list(string)
  description = "Who uses mlport: groups of the workspace. A service principal in one of them should own what serves in production."
}

variable "captured_requests" {
  type        = bool
  default     = true
  description = "Whether there is a SQL warehouse to read captured requests with (warehouse_id)."
}

variable "state_bucket" {
  type        = string
  default     = ""
  description = "On AWS: the S3 bucket to make for mlport's shared state. Elsewhere leave it out, and name a container or bucket in the profile."
}

variable "region" {
  type        = string
  description = "The workspace's region, as its cloud names it: prices go by it."
}

variable "tier" {
  type        = string
  default     = "premium"
  description = "The workspace's pricing tier: standard, premium or enterprise."
}

provider "databricks" {}

provider "aws" {}

data "databricks_current_config" "this" {}

resource "databricks_schema" "mlport" {
  catalog_name = var.catalog
  name         = var.schema
  comment      = "Models, captured requests and files of mlport"
}

resource "databricks_volume" "mlport" {
  catalog_name = var.catalog
  schema_name  = databricks_schema.mlport.name
  name         = "mlport"
  volume_type  = "MANAGED"
  comment      = "Bundles, inputs, and what jobs leave"
}

resource "databricks_directory" "mlport" {
  path = "/Shared/mlport"
}

resource "databricks_secret_scope" "mlport" {
  name = "mlport"
}

# Without the entitlement to make clusters, a policy says which clusters jobs may have.
resource "databricks_cluster_policy" "jobs" {
  name = "mlport jobs"
  definition = jsonencode({
    "cluster_type" : { "type" : "fixed", "value" : "job" }
    "data_security_mode" : { "type" : "fixed", "value" : "DATA_SECURITY_MODE_DEDICATED" }
  })
}

resource "databricks_sql_endpoint" "captured" {
  count                     = var.captured_requests ? 1 : 0
  name                      = "mlport"
  cluster_size              = "2X-Small"
  max_num_clusters          = 1
  auto_stop_mins            = 10
  enable_serverless_compute = true
  warehouse_type            = "PRO"
}

resource "aws_s3_bucket" "state" {
  count  = var.state_bucket == "" ? 0 : 1
  bucket = var.state_bucket
}

resource "aws_s3_bucket_public_access_block" "state" {
  count                   = var.state_bucket == "" ? 0 : 1
  bucket                  = aws_s3_bucket.state[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# ---------------------------------------------------------------- those who use mlport

resource "databricks_grant" "catalog" {
  for_each   = toset(var.users)
  catalog    = var.catalog
  principal  = each.value
  privileges = ["USE_CATALOG"]
}

resource "databricks_grant" "schema" {
  for_each   = toset(var.users)
  schema     = databricks_schema.mlport.id
  principal  = each.value
  privileges = ["USE_SCHEMA", "CREATE_MODEL", "CREATE_TABLE", "EXECUTE", "APPLY_TAG", "SELECT"]
}

resource "databricks_grant" "volume" {
  for_each   = toset(var.users)
  volume     = databricks_volume.mlport.id
  principal  = each.value
  privileges = ["READ_VOLUME", "WRITE_VOLUME"]
}

resource "databricks_permissions" "directory" {
  directory_path = databricks_directory.mlport.path
  dynamic "access_control" {
    for_each = toset(var.users)
    content {
      group_name       = access_control.value
      permission_level = "CAN_MANAGE"
    }
  }
}

resource "databricks_permissions" "policy" {
  cluster_policy_id = databricks_cluster_policy.jobs.id
  dynamic "access_control" {
    for_each = toset(var.users)
    content {
      group_name       = access_control.value
      permission_level = "CAN_USE"
    }
  }
}

resource "databricks_secret_acl" "mlport" {
  for_each   = toset(var.users)
  scope      = databricks_secret_scope.mlport.name
  principal  = each.value
  permission = "WRITE"
}

resource "databricks_permissions" "warehouse" {
  count           = var.captured_requests ? 1 : 0
  sql_endpoint_id = databricks_sql_endpoint.captured[0].id
  dynamic "access_control" {
    for_each = toset(var.users)
    content {
      group_name       = access_control.value
      permission_level = "CAN_USE"
    }
  }
}

output "profile" {
  description = "For mlport.toml."
  value       = <<-EOT
    [profiles.prod]
    provider = "databricks"
    host = "${trimprefix(data.databricks_current_config.this.host, "https://")}"
    catalog = "${var.catalog}"
    schema = "${databricks_schema.mlport.name}"
    volume = "${databricks_volume.mlport.name}"
    region = "${var.region}"
    tier = "${var.tier}"
    policy_id = "${databricks_cluster_policy.jobs.id}"
    secret_scope = "${databricks_secret_scope.mlport.name}"
    state = "%{if var.state_bucket == ""}abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/mlport%{else}s3://${aws_s3_bucket.state[0].id}/mlport%{endif}"
    %{if var.captured_requests~}
    warehouse_id = "${databricks_sql_endpoint.captured[0].id}"
    %{endif~}
  EOT
}
