# The AWS side of spot_training: a bucket, the roles of Airflow's connection and of the trainings, and a queue of
# state changes. README.md has the steps.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  partition = data.aws_partition.current.partition
  # The attribute `name` of version 5 of the provider is `region` in version 6.
  region         = try(data.aws_region.current.region, data.aws_region.current.name)
  account        = data.aws_caller_identity.current.account_id
  execution_role = "${var.name}-execution"
  events         = "${var.name}-events"
}

resource "aws_s3_bucket" "trainings" {
  count  = var.create_bucket ? 1 : 0
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "trainings" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trainings[0].id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "trainings" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trainings[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# SageMaker leaves checkpoints. The ledger is without a rule: budgets and the page need it, and
# `spot-training ledger prune` removes what is old.
resource "aws_s3_bucket_lifecycle_configuration" "trainings" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trainings[0].id

  rule {
    id     = "old-checkpoints"
    status = "Enabled"

    filter {
      prefix = "checkpoints/"
    }

    expiration {
      days = var.checkpoint_days
    }
  }

  rule {
    id     = "uploads-that-were-not-completed"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

module "events" {
  count  = var.triggerers > 0 ? 1 : 0
  source = "../../include/infra"

  queue_names     = [for number in range(var.triggerers) : "${local.events}-${number + 1}"]
  job_name_prefix = var.job_name_prefix
}
