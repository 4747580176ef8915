# What mlport needs in a Google Cloud project: APIs, a bucket, a dataset, two service accounts, and the least predefined roles.
#
#   terraform init && terraform apply -var project=acme-ml -var location=europe-west4 -var 'users=["user:ada@example.com"]'

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

variable "project" {
  type        = string
  description = "The project's id."
}

variable "location" {
  type        = string
  description = "The region, such as europe-west4."
}

variable "users" {
  type        = list(string)
  description = "Who uses mlport, as IAM members: user:..., group:..., serviceAccount:..."
}

provider "google" {
  project = var.project
  region  = var.location
}

resource "google_project_service" "needed" {
  for_each = toset([
    "aiplatform.googleapis.com",
    "bigquery.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "storage.googleapis.com",
  ])
  service            = each.value
  disable_on_destroy = false
}

resource "google_storage_bucket" "mlport" {
  name                        = "${var.project}-mlport"
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  depends_on                  = [google_project_service.needed]
}

# Requests and answers of endpoints, kept by Vertex AI's request-response logging.
resource "google_bigquery_dataset" "captured" {
  dataset_id = "mlport"
  location   = var.location
  depends_on = [google_project_service.needed]
}

resource "google_service_account" "jobs" {
  account_id   = "mlport-jobs"
  display_name = "What mlport's jobs run as"
}

resource "google_service_account" "serving" {
  account_id   = "mlport-serving"
  display_name = "What mlport's deployments run as"
}

locals {
  accounts = {
    jobs    = google_service_account.jobs
    serving = google_service_account.serving
  }
  project_roles = [
    "roles/aiplatform.user",
    "roles/bigquery.jobUser",
    "roles/logging.viewer",
    "roles/monitoring.viewer",
  ]
  bucket_roles = [
    "roles/storage.legacyBucketReader",
    "roles/storage.objectAdmin",
  ]
}

# ---------------------------------------------------------------- those who use mlport

resource "google_project_iam_member" "users" {
  for_each = { for pair in setproduct(var.users, local.project_roles) : "${pair[0]} ${pair[1]}" => pair }
  project  = var.project
  member   = each.value[0]
  role     = each.value[1]
}

resource "google_storage_bucket_iam_member" "users" {
  for_each = { for pair in setproduct(var.users, local.bucket_roles) : "${pair[0]} ${pair[1]}" => pair }
  bucket   = google_storage_bucket.mlport.name
  member   = each.value[0]
  role     = each.value[1]
}

resource "google_bigquery_dataset_iam_member" "users" {
  for_each   = toset(var.users)
  dataset_id = google_bigquery_dataset.captured.dataset_id
  member     = each.value
  role       = "roles/bigquery.dataViewer"
}

resource "google_service_account_iam_member" "users" {
  for_each           = { for pair in setproduct(var.users, keys(local.accounts)) : "${pair[0]} ${pair[1]}" => pair }
  service_account_id = local.accounts[each.value[1]].name
  member             = each.value[0]
  role               = "roles/iam.serviceAccountUser"
}

# ---------------------------------------------------------------- what runs

resource "google_storage_bucket_iam_member" "jobs" {
  bucket = google_storage_bucket.mlport.name
  member = google_service_account.jobs.member
  role   = "roles/storage.objectAdmin"
}

resource "google_project_iam_member" "jobs_logs" {
  project = var.project
  member  = google_service_account.jobs.member
  role    = "roles/logging.logWriter"
}

resource "google_storage_bucket_iam_member" "serving" {
  bucket = google_storage_bucket.mlport.name
  member = google_service_account.serving.member
  role   = "roles/storage.objectViewer"
}

resource "google_project_iam_member" "serving_logs" {
  project = var.project
  member  = google_service_account.serving.member
  role    = "roles/logging.logWriter"
}

output "profile" {
  description = "For mlport.toml."
  value       = <<-EOT
    [profiles.prod]
    provider = "vertex"
    project = "${var.project}"
    location = "${var.location}"
    staging = "gs://${google_storage_bucket.mlport.name}/mlport"
    service_account = "${google_service_account.jobs.email}"
    serving_account = "${google_service_account.serving.email}"
  EOT
}
