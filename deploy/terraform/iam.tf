# The policies are the files in docs/iam, with the words in capitals replaced.

locals {
  policies = {
    for name in ["caller-policy", "ledger-policy", "uploads-policy", "execution-role-policy", "execution-role-trust"] :
    name => replace(replace(replace(replace(replace(replace(replace(replace(
      file("${path.module}/../../docs/iam/${name}.json"),
      "spot-training-events", "${local.events}-*"),
      "CODE-PREFIX", "code"),
      "PREFIX", var.ledger_prefix),
      "EXECUTION-ROLE", local.execution_role),
      "BUCKET", var.bucket),
      "PARTITION", local.partition),
      "REGION", local.region),
    "ACCOUNT", local.account)
  }
  caller_policies = setunion(["caller-policy", "ledger-policy"], var.allow_uploads ? ["uploads-policy"] : [])
}

resource "aws_iam_role" "execution" {
  name               = local.execution_role
  description        = "SageMaker takes it for trainings: it reads data, and writes models and checkpoints"
  assume_role_policy = local.policies["execution-role-trust"]
}

resource "aws_iam_role_policy" "execution" {
  name   = "training"
  role   = aws_iam_role.execution.id
  policy = local.policies["execution-role-policy"]
}

data "aws_iam_policy_document" "caller_trust" {
  dynamic "statement" {
    for_each = length(var.caller_arns) > 0 ? [var.caller_arns] : []

    content {
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.caller_services) > 0 ? [var.caller_services] : []

    content {
      actions = ["sts:AssumeRole"]

      principals {
        type        = "Service"
        identifiers = statement.value
      }
    }
  }
}

resource "aws_iam_role" "caller" {
  name               = "${var.name}-airflow"
  description        = "Airflow's connection: creates, watches and stops training jobs, and keeps the ledger"
  assume_role_policy = var.caller_trust == null ? data.aws_iam_policy_document.caller_trust.json : var.caller_trust

  lifecycle {
    precondition {
      condition     = var.caller_trust != null || length(var.caller_arns) + length(var.caller_services) > 0
      error_message = "Nobody could take the caller's role: give caller_arns, caller_services or caller_trust."
    }
  }
}

resource "aws_iam_role_policy" "caller" {
  for_each = local.caller_policies

  name   = each.key
  role   = aws_iam_role.caller.id
  policy = local.policies[each.key]
}
