locals {
  queue_urls = var.triggerers > 0 ? [for name in sort(keys(module.events[0].queue_urls)) : module.events[0].queue_urls[name]] : []
  settings = merge(
    {
      AIRFLOW__SPOT_TRAINING__LEDGER = "s3://${var.bucket}/${var.ledger_prefix}"
      AIRFLOW_CONN_AWS_DEFAULT = jsonencode({
        conn_type = "aws"
        extra     = { region_name = local.region, role_arn = aws_iam_role.caller.arn }
      })
    },
    var.triggerers == 1 ? { AIRFLOW__SPOT_TRAINING__EVENTS_QUEUE_URL = local.queue_urls[0] } : {},
  )
}

output "airflow_settings" {
  description = "Environment variables for every component of Airflow, to paste: terraform output -raw airflow_settings"
  value       = join("\n", [for name, value in local.settings : "${name}='${value}'"])
}

output "queue_urls" {
  description = "AIRFLOW__SPOT_TRAINING__EVENTS_QUEUE_URL of each triggerer."
  value       = local.queue_urls
}

output "execution_role_arn" {
  description = "RoleArn of a training's config."
  value       = aws_iam_role.execution.arn
}

output "caller_role_arn" {
  description = "The role of Airflow's connection."
  value       = aws_iam_role.caller.arn
}

output "locations" {
  description = "For a training's config: S3OutputPath, the S3Uri of CheckpointConfig, and where channels and code go."
  value       = { for folder in ["models", "checkpoints", "channels", "code"] : folder => "s3://${var.bucket}/${folder}" }
}
