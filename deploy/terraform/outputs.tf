output "store" {
  description = "QUANT_ASSETS_STORE for readers and notebooks."
  value       = local.store
}

output "image_repository" {
  description = "Where to push the image."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "api" {
  description = "The API's address, reached through a load balancer or from within the project's networks."
  value       = one(google_cloud_run_v2_service.api[*].uri)
}
