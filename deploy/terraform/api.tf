# The hashes of the API's keys (name:scope:sha256, comma-separated); the value is put in by hand, not by this code, whose
# state would keep it: gcloud secrets versions add quant-assets-api-keys --data-file=-
resource "google_secret_manager_secret" "api_keys" {
  secret_id = "quant-assets-api-keys"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.used]
}

resource "google_cloud_run_v2_service" "api" {
  count = var.api ? 1 : 0

  name                = "quant-assets-api"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  deletion_protection = false

  template {
    service_account                  = google_service_account.api.email
    timeout                          = "300s"
    max_instance_request_concurrency = 40

    scaling {
      min_instance_count = 0
      max_instance_count = 3
    }

    containers {
      image   = var.image
      command = ["quant-assets"]
      args    = ["serve", "--host", "0.0.0.0", "--port", "8000"]

      ports {
        container_port = 8000
      }

      resources {
        limits = {
          cpu    = "2"
          memory = "2Gi"
        }
      }

      env {
        name  = "QUANT_ASSETS_STORE"
        value = local.store
      }

      env {
        name  = "QUANT_ASSETS_EXCHANGES"
        value = join(",", sort(var.exchanges))
      }

      env {
        name  = "QUANT_ASSETS_HOME"
        value = "/tmp/quant-assets"
      }

      env {
        name = "QUANT_ASSETS_API_KEYS"

        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.api_keys.secret_id
            version = "latest"
          }
        }
      }

      startup_probe {
        initial_delay_seconds = 5
        period_seconds        = 5
        failure_threshold     = 24

        http_get {
          path = "/healthz"
          port = 8000
        }
      }

      liveness_probe {
        period_seconds  = 30
        timeout_seconds = 5

        http_get {
          path = "/healthz"
          port = 8000
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.api_keys]
}

resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = var.api ? var.api_callers : toset([])

  name     = google_cloud_run_v2_service.api[0].name
  location = google_cloud_run_v2_service.api[0].location
  role     = "roles/run.invoker"
  member   = each.key
}
