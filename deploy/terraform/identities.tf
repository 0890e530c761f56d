# Who may do what; docs/deploy.md names for each role the call that needs it.
resource "google_service_account" "daily" {
  account_id   = "quant-assets-daily"
  display_name = "quant-assets: the daily jobs"
}

resource "google_service_account" "api" {
  account_id   = "quant-assets-api"
  display_name = "quant-assets: the API, reading"
}

resource "google_service_account" "scheduler" {
  account_id   = "quant-assets-scheduler"
  display_name = "quant-assets: starts the daily jobs"
}

resource "google_storage_bucket_iam_member" "daily_writes" {
  bucket = google_storage_bucket.tables.name
  role   = "roles/storage.objectUser"
  member = google_service_account.daily.member
}

resource "google_storage_bucket_iam_member" "api_reads" {
  bucket = google_storage_bucket.tables.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.api.member
}

resource "google_cloud_run_v2_job_iam_member" "scheduler_starts" {
  for_each = google_cloud_run_v2_job.daily

  name     = each.value.name
  location = each.value.location
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_secret_manager_secret_iam_member" "api_keys" {
  secret_id = google_secret_manager_secret.api_keys.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.api.member
}

# A pod in GKE acts as the jobs' identity by workload identity.
resource "google_service_account_iam_member" "kubernetes" {
  count = var.kubernetes_service_account == "" ? 0 : 1

  service_account_id = google_service_account.daily.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.kubernetes_service_account}]"
}

# The repository's pipeline on its main branch pushes images and deploys them, by federation: no key leaves Google.
resource "google_service_account" "deployer" {
  count = var.github_deploys ? 1 : 0

  account_id   = "quant-assets-deployer"
  display_name = "quant-assets: pushes images and deploys them"
}

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_deploys ? 1 : 0

  workload_identity_pool_id = "quant-assets-github"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.github_deploys ? 1 : 0

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_condition                = "assertion.sub == 'repo:${var.github_owner}/${var.github_name}:ref:refs/heads/main'"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "deployer" {
  count = var.github_deploys ? 1 : 0

  service_account_id = google_service_account.deployer[0].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository/${var.github_owner}/${var.github_name}"
}

resource "google_artifact_registry_repository_iam_member" "deployer_pushes" {
  count = var.github_deploys ? 1 : 0

  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deployer[0].member
}

resource "google_cloud_run_v2_job_iam_member" "deployer_deploys" {
  for_each = { for code, job in google_cloud_run_v2_job.daily : code => job if var.github_deploys }

  name     = each.value.name
  location = each.value.location
  role     = "roles/run.developer"
  member   = google_service_account.deployer[0].member
}

resource "google_service_account_iam_member" "deployer_acts_as_daily" {
  count = var.github_deploys ? 1 : 0

  service_account_id = google_service_account.daily.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deployer[0].member
}
