# State changes of SageMaker training jobs into an SQS queue, for spot_training's triggerer
# ([spot_training] events_queue_url). A queue for each triggerer: one rule fills them all.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "queue_names" {
  description = "One queue for each triggerer; EventBridge takes five targets a rule."
  type        = set(string)
  default     = ["spot-training-events"]

  validation {
    condition     = length(var.queue_names) >= 1 && length(var.queue_names) <= 5
    error_message = "Give one to five names: a rule has five targets at most."
  }
}

variable "job_name_prefix" {
  description = "Only jobs with names that start with this prefix. Empty for all jobs of the account and region."
  type        = string
  default     = ""
}

locals {
  names = var.job_name_prefix == "" ? {} : {
    detail = { TrainingJobName = [{ prefix = var.job_name_prefix }] }
  }
}

resource "aws_cloudwatch_event_rule" "training_jobs" {
  name_prefix = "spot-training-"
  description = "State changes of SageMaker training jobs, for spot_training"
  event_pattern = jsonencode(merge({
    source      = ["aws.sagemaker"]
    detail-type = ["SageMaker Training Job State Change"]
  }, local.names))
}

resource "aws_sqs_queue" "events" {
  for_each = var.queue_names

  name = each.key
  # A change that nobody received within the hour is known from the list long since.
  message_retention_seconds = 3600
  # Between receiving a message and deleting it; it comes again when the triggerer dies in between.
  visibility_timeout_seconds = 30
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
}

data "aws_iam_policy_document" "the_rule_may_send" {
  for_each = aws_sqs_queue.events

  statement {
    actions   = ["sqs:SendMessage"]
    resources = [each.value.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.training_jobs.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "events" {
  for_each = aws_sqs_queue.events

  queue_url = each.value.id
  policy    = data.aws_iam_policy_document.the_rule_may_send[each.key].json
}

resource "aws_cloudwatch_event_target" "events" {
  for_each = aws_sqs_queue.events

  rule = aws_cloudwatch_event_rule.training_jobs.name
  arn  = each.value.arn
}

output "queue_urls" {
  description = "[spot_training] events_queue_url of each triggerer"
  value       = { for name, queue in aws_sqs_queue.events : name => queue.url }
}

output "queue_arns" {
  description = "What the triggerers' IAM policies name"
  value       = { for name, queue in aws_sqs_queue.events : name => queue.arn }
}
