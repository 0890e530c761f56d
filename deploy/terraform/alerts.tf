resource "google_monitoring_notification_channel" "email" {
  display_name = "quant-assets"
  type         = "email"

  labels = {
    email_address = var.alert_email
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "job_failed" {
  display_name = "quant-assets: a daily job has failed"
  combiner     = "OR"
  severity     = "ERROR"

  conditions {
    display_name = "An execution ended with exit code 1 or 2, or was ended"

    condition_threshold {
      filter          = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = starts_with(\"quant-assets-daily-\") AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result = \"failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The log's last lines say what is missing: exit code 2, something came; 1, nothing usable. Run it again (`gcloud run jobs execute`): it asks only for what is missing."
  }

  notification_channels = [google_monitoring_notification_channel.email.id]
}

resource "google_monitoring_alert_policy" "job_slow" {
  display_name = "quant-assets: a daily job has run for 20 minutes"
  combiner     = "OR"
  severity     = "WARNING"

  conditions {
    display_name = "An execution is still under way"

    condition_threshold {
      filter          = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = starts_with(\"quant-assets-daily-\") AND metric.type = \"run.googleapis.com/job/running_executions\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "1200s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The source limits requests, or there are more symbols than the pace allows for: symbols / QUANT_ASSETS_REQUESTS_PER_SECOND is the least number of seconds."
  }

  notification_channels = [google_monitoring_notification_channel.email.id]
}

resource "google_billing_budget" "month" {
  billing_account = var.billing_account
  display_name    = "quant-assets"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      currency_code = "USD"
      units         = tostring(var.budget_usd)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }

  threshold_rules {
    threshold_percent = 1.0
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = [google_monitoring_notification_channel.email.id]
  }
}
