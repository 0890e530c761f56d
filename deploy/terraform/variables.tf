variable "project" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where bucket, jobs and image lie; one region, so that reading costs no traffic between regions."
  type        = string
  default     = "us-central1"
}

variable "bucket" {
  description = "The name of the bucket of the tables; unique over all of Google Cloud."
  type        = string
}

variable "image" {
  description = "The image to run, by digest: REGION-docker.pkg.dev/PROJECT/quant-assets/quant-assets@sha256:…"
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name the image by its digest (…@sha256:…): a tag can come to mean another image."
  }
}

variable "exchanges" {
  description = "The exchanges of which a daily job runs; the file exchanges.json has those that are known."
  type        = set(string)
  default     = ["ASX", "US"]
}

variable "universe" {
  description = "The universe file of the jobs, as gcsfuse mounts it from the bucket, or empty: the few symbols of the package."
  type        = string
  default     = ""
}

variable "job_memory" {
  description = "The memory of a daily job: 512Mi holds ten symbols (make cloud-run-limits), docs/deploy.md has more."
  type        = string
  default     = "512Mi"
}

variable "job_seconds" {
  description = "When a job that still runs is ended. What came until then is stored; the next one asks for the rest."
  type        = number
  default     = 3600
}

variable "requests_per_second" {
  description = "The pace of one job towards the source. Jobs do not know of each other: two that run at once add up."
  type        = number
  default     = 1
}

variable "api" {
  description = "Whether the API runs as a Cloud Run service."
  type        = bool
  default     = true
}

variable "api_callers" {
  description = "Who may reach the API at all, e.g. group:quants@example.com; a key of its own is asked for besides."
  type        = set(string)
  default     = []

  validation {
    condition     = !contains(var.api_callers, "allUsers")
    error_message = "Name who may reach the API; allUsers is everybody on the internet."
  }
}

variable "alert_email" {
  description = "Who hears of failed and slow jobs and of the budget."
  type        = string
}

variable "billing_account" {
  description = "The billing account of the budget alert."
  type        = string
}

variable "budget_usd" {
  description = "What a month may cost before an alert (docs/deploy.md has a table)."
  type        = number
  default     = 25
}

variable "github_deploys" {
  description = "Whether the pipeline of a repository's main branch may push images and deploy them, without a key."
  type        = bool
  default     = false
}

variable "github_owner" {
  description = "The owner of the repository whose main branch that is."
  type        = string
  default     = "owner"
}

variable "github_name" {
  description = "The name of that repository."
  type        = string
  default     = "quant-assets"
}

variable "kubernetes_service_account" {
  description = "NAMESPACE/NAME of the service account in GKE that acts as the jobs' identity, without a key (deploy/kubernetes: quant-assets/quant-assets); empty: none."
  type        = string
  default     = ""
}
