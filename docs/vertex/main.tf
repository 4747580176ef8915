# What mlport needs in a Google Cloud project: APIs, a bucket, service accounts, and the least predefined roles; if you want
# them, a dataset for captured requests, and a repository and an account for images that are built.
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

variable "captured_requests" {
  type        = bool
  default     = true
  description = "Whether endpoints keep requests and answers in a BigQuery dataset of yours (capture_dataset)."
}

variable "built_images" {
  type        = bool
  default     = true
  description = "Whether serving images are built from models' requirements (build_repository)."
}

provider "google" {
  project = var.project
  region  = var.location
}

resource "google_project_service" "needed" {
  for_each = toset([
    "aiplatform.googleapis.com",
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "cloudbuild.googleapis.com",
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
  count      = var.captured_requests ? 1 : 0
  dataset_id = "mlport"
  location   = var.location
  depends_on = [google_project_service.needed]
}

# Images that serve models with the packages that they were saved with.
resource "google_artifact_registry_repository" "images" {
  count         = var.built_images ? 1 : 0
  repository_id = "mlport"
  location      = var.location
  format        = "DOCKER"
  depends_on    = [google_project_service.needed]
}

resource "google_service_account" "builds" {
  count        = var.built_images ? 1 : 0
  account_id   = "mlport-builds"
  display_name = "What builds of serving images run as"
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
  accounts = merge(
    {
      jobs    = google_service_account.jobs
      serving = google_service_account.serving
    },
    var.built_images ? { builds = google_service_account.builds[0] } : {},
  )
  project_roles = concat(
    [
      "roles/aiplatform.user",
      "roles/logging.viewer",
      "roles/monitoring.viewer",
    ],
    var.captured_requests ? ["roles/bigquery.jobUser"] : [],
    var.built_images ? ["roles/cloudbuild.builds.editor"] : [],
  )
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
  for_each   = var.captured_requests ? toset(var.users) : toset([])
  dataset_id = google_bigquery_dataset.captured[0].dataset_id
  member     = each.value
  role       = "roles/bigquery.dataViewer"
}

resource "google_artifact_registry_repository_iam_member" "users" {
  for_each   = var.built_images ? toset(var.users) : toset([])
  location   = var.location
  repository = google_artifact_registry_repository.images[0].name
  member     = each.value
  role       = "roles/artifactregistry.reader"
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

resource "google_artifact_registry_repository_iam_member" "builds" {
  count      = var.built_images ? 1 : 0
  location   = var.location
  repository = google_artifact_registry_repository.images[0].name
  member     = google_service_account.builds[0].member
  role       = "roles/artifactregistry.writer"
}

resource "google_storage_bucket_iam_member" "builds" {
  for_each = var.built_images ? toset(local.bucket_roles) : toset([])
  bucket   = google_storage_bucket.mlport.name
  member   = google_service_account.builds[0].member
  role     = each.value
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
    %{if var.captured_requests~}
    capture_dataset = "${google_bigquery_dataset.captured[0].dataset_id}"
    %{endif~}
    %{if var.built_images~}
    build_repository = "${var.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images[0].repository_id}"
    build_account = "${google_service_account.builds[0].email}"
    %{endif~}
  EOT
}
