# A daily job per exchange, without a daemon: the whole of `quant-assets update-daily`, started half an hour after the
# close, or later where trading at the closing price goes on (exchanges.json is made of the product's own calendars).
locals {
  known     = jsondecode(file("${path.module}/exchanges.json"))
  exchanges = { for code in var.exchanges : code => local.known[code] }
  store     = "gs://${google_storage_bucket.tables.name}/prices"
}

resource "google_cloud_run_v2_job" "daily" {
  for_each = local.exchanges

  name                = "quant-assets-daily-${lower(each.key)}"
  location            = var.region
  deletion_protection = false

  template {
    parallelism = 1
    task_count  = 1

    template {
      service_account = google_service_account.daily.email
      timeout         = "${var.job_seconds}s"
      # Exit codes 1 and 2: nothing usable, and something is missing. Once more asks only for what is missing.
      max_retries           = 1
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

      containers {
        image   = var.image
        command = ["quant-assets"]
        args    = ["update-daily", "--exchange", each.key]

        resources {
          limits = {
            cpu    = "1"
            memory = var.job_memory
          }
        }

        dynamic "env" {
          for_each = merge({
            QUANT_ASSETS_STORE               = local.store
            QUANT_ASSETS_EXCHANGES           = each.key
            QUANT_ASSETS_HOME                = "/tmp/quant-assets"
            QUANT_ASSETS_MEMORY_MB           = "64"
            QUANT_ASSETS_REQUESTS_PER_SECOND = tostring(var.requests_per_second)
            POLARS_MAX_THREADS               = "1"
          }, var.universe == "" ? {} : { QUANT_ASSETS_UNIVERSE = var.universe })

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.used, google_storage_bucket_iam_member.daily_writes]
}

resource "google_cloud_scheduler_job" "daily" {
  for_each = local.exchanges

  name             = "quant-assets-daily-${lower(each.key)}"
  region           = var.region
  description      = "The daily job of ${each.key}, after its close."
  schedule         = each.value.schedule
  time_zone        = each.value.time_zone
  attempt_deadline = "180s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.daily[each.key].id}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}
