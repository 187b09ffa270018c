variable "bucket" {
  description = "The bucket for channels, code, models, checkpoints and the ledger."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "Give a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "create_bucket" {
  description = "False for a bucket that exists. Its lifecycle stays yours then."
  type        = bool
  default     = true
}

variable "checkpoint_days" {
  description = "After how many days S3 removes a checkpoint. More than a training takes, with all its attempts."
  type        = number
  default     = 30

  validation {
    condition     = var.checkpoint_days >= 1 && floor(var.checkpoint_days) == var.checkpoint_days
    error_message = "Give whole days, at least 1."
  }
}

variable "ledger_prefix" {
  description = "The ledger's folder in the bucket. No lifecycle rule touches it."
  type        = string
  default     = "ledger"

  validation {
    condition = (
      can(regex("^[a-z0-9][a-z0-9/_.-]*[a-z0-9]$", var.ledger_prefix)) &&
      !can(regex("^(channels|code|models|checkpoints)(/|$)", var.ledger_prefix))
    )
    error_message = "Give a path in lower case that begins and ends with a letter or digit, and is none of channels, code, models and checkpoints."
  }
}

variable "name" {
  description = "What the names of roles, policies and queues begin with. Another one for each Airflow in an account."
  type        = string
  default     = "spot-training"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "Give 2 to 31 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "caller_arns" {
  description = "Roles and users that may take the caller's role: what Airflow's workers and triggerers run as."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.caller_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:", arn))])
    error_message = "Give ARNs of IAM roles or users."
  }
}

variable "caller_services" {
  description = "Services that may take the caller's role, such as ec2.amazonaws.com and ecs-tasks.amazonaws.com."
  type        = list(string)
  default     = []
}

variable "caller_trust" {
  description = "The caller's whole trust policy as JSON instead, as for a Kubernetes service account."
  type        = string
  default     = null

  validation {
    condition     = var.caller_trust == null || can(jsondecode(var.caller_trust))
    error_message = "Give JSON."
  }
}

variable "allow_uploads" {
  description = "Whether the caller may upload scripts, for the S3Operations of a config of the SageMaker SDK."
  type        = bool
  default     = false
}

variable "triggerers" {
  description = "How many triggerers receive state changes, each from its own queue. 0 for no queue."
  type        = number
  default     = 1

  validation {
    condition     = contains([0, 1, 2, 3, 4, 5], var.triggerers)
    error_message = "Give 0 to 5: a rule has five targets at most."
  }
}

variable "job_name_prefix" {
  description = "Only state changes of jobs with names that begin like this. Empty for all of the account and region."
  type        = string
  default     = ""
}
