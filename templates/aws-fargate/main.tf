# A container on AWS Fargate for each workspace: no machine to keep, no disk to patch.
#
# The container runs while the workspace is started; the home directory is a file system of its own (EFS) and stays. Nobody can reach
# the container from outside: the agent in it dials out to Berth, and developers come in through that connection.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

# What whoever pushes the template may set: `berth templates push aws-fargate --variable region=eu-central-1`.

variable "region" {
  description = "The AWS region of the workspaces. The runner's own region (AWS_REGION) when it is not set."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "The subnets that workspaces may be put into, of one VPC and each with a way to the internet. The default subnets of the default VPC when it is empty."
  type        = list(string)
  default     = []
}

variable "assign_public_ip" {
  description = "Whether containers get a public address to reach the internet with. Set it to false for subnets behind a NAT gateway."
  type        = bool
  default     = true
}

# Credentials are the runner's: none stand in a template.
provider "aws" {
  region = var.region
}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "image" {
  name         = "image"
  display_name = "Image"
  description  = "The container's image, from a public registry, for ARM, with sh and one of curl and wget. It runs as user 1000."
  icon         = "/icon/docker.svg"
  type         = "string"
  default      = "mcr.microsoft.com/devcontainers/base:ubuntu-24.04"
  mutable      = true
  order        = 1
  validation {
    regex = "^[a-z0-9][a-zA-Z0-9._:/@-]{0,254}$"
    error = "An image is a name such as registry.example.com/team/image:tag."
  }
}

data "coder_parameter" "size" {
  name         = "size"
  display_name = "Size"
  description  = "How many processors and how much memory. Another choice takes effect with the next start."
  icon         = "/icon/memory.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "2048/8192"
  mutable      = true
  order        = 2
  option {
    name  = "1 processor, 4 GiB"
    value = "1024/4096"
  }
  option {
    name  = "2 processors, 8 GiB"
    value = "2048/8192"
  }
  option {
    name  = "4 processors, 16 GiB"
    value = "4096/16384"
  }
}

locals {
  # By id: names of Amazon ECS and IAM end early, and two long names could become one.
  name = "berth-${data.coder_workspace.me.id}"
  tags = {
    Name  = "berth-${data.coder_workspace_owner.me.name}-${data.coder_workspace.me.name}"
    Owner = data.coder_workspace_owner.me.name
  }
  cpu    = split("/", data.coder_parameter.size.value)[0]
  memory = split("/", data.coder_parameter.size.value)[1]
  vpc_id = try(values(data.aws_subnet.allowed)[0].vpc_id, null)

  # The user of the container, and the owner of its home directory.
  user = { uid = 1000, gid = 1000 }
}

data "aws_region" "here" {}

data "aws_subnets" "allowed" {
  filter {
    name   = length(var.subnet_ids) == 0 ? "default-for-az" : "subnet-id"
    values = length(var.subnet_ids) == 0 ? ["true"] : var.subnet_ids
  }
}

data "aws_subnet" "allowed" {
  for_each = toset(data.aws_subnets.allowed.ids)
  id       = each.value
}

# The program that developers reach.
resource "coder_agent" "main" {
  os   = "linux"
  arch = "arm64"

  env = {
    GIT_AUTHOR_NAME     = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_AUTHOR_EMAIL    = data.coder_workspace_owner.me.email
    GIT_COMMITTER_NAME  = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_COMMITTER_EMAIL = data.coder_workspace_owner.me.email
  }

  # Shown beside the workspace, measured while someone looks.
  metadata {
    key          = "load"
    display_name = "Load average"
    script       = "cut -d ' ' -f 1-3 /proc/loadavg"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "memory"
    display_name = "Memory"
    script       = "awk '/^MemTotal/ { t = $2 } /^MemAvailable/ { a = $2 } END { printf \"%.1f of %.1f GiB\", (t - a) / 1048576, t / 1048576 }' /proc/meminfo"
    interval     = 10
    timeout      = 2
  }
}

# Nothing may connect to the container: there is no ingress rule. The container may connect to anything.
resource "aws_security_group" "workspace" {
  name_prefix = "${local.name}-"
  description = "Berth workspace: nothing in, everything out"
  vpc_id      = local.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_egress_rule" "all" {
  for_each = { ipv4 = ["0.0.0.0/0", null], ipv6 = [null, "::/0"] }

  security_group_id = aws_security_group.workspace.id
  description       = "Everything over ${each.key}"
  ip_protocol       = "-1"
  cidr_ipv4         = each.value[0]
  cidr_ipv6         = each.value[1]
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted.
resource "aws_efs_file_system" "home" {
  encrypted       = true
  throughput_mode = "elastic"
  tags            = merge(local.tags, { Name = "${local.tags.Name}-home" })

  # Files that nobody read for a month cost less, until somebody reads them.
  lifecycle_policy {
    transition_to_ia = "AFTER_30_DAYS"
  }
  lifecycle_policy {
    transition_to_primary_storage_class = "AFTER_1_ACCESS"
  }
}

# The file system listens to this workspace's container only.
resource "aws_security_group" "home" {
  name_prefix = "${local.name}-home-"
  description = "Berth workspace: its home file system"
  vpc_id      = local.vpc_id
  tags        = merge(local.tags, { Name = "${local.tags.Name}-home" })
}

resource "aws_vpc_security_group_ingress_rule" "home" {
  security_group_id            = aws_security_group.home.id
  referenced_security_group_id = aws_security_group.workspace.id
  description                  = "NFS from the workspace"
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_mount_target" "home" {
  for_each        = data.aws_subnet.allowed
  file_system_id  = aws_efs_file_system.home.id
  subnet_id       = each.key
  security_groups = [aws_security_group.home.id]
}

# A directory of the file system that belongs to the developer's user.
resource "aws_efs_access_point" "home" {
  file_system_id = aws_efs_file_system.home.id
  tags           = local.tags

  posix_user {
    uid = local.user.uid
    gid = local.user.gid
  }
  root_directory {
    path = "/dev"
    creation_info {
      owner_uid   = local.user.uid
      owner_gid   = local.user.gid
      permissions = "0700"
    }
  }
}

# The agent's token, so that it does not stand in the task definition, which more people may read.
resource "aws_ssm_parameter" "token" {
  name  = "/berth/${data.coder_workspace.me.id}/agent-token"
  type  = "SecureString"
  value = coder_agent.main.token
  tags  = local.tags
}

resource "aws_cloudwatch_log_group" "workspace" {
  name              = "/berth/${data.coder_workspace.me.id}"
  retention_in_days = 7
  tags              = local.tags
}

# What Fargate itself may do to start the container: read the one token, write the one log. The container has no role of its own: what
# a developer runs there has no rights in the AWS account.
resource "aws_iam_role" "start" {
  name = local.name
  tags = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "start" {
  name = "start"
  role = aws_iam_role.start.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "ssm:GetParameters"
        Resource = aws_ssm_parameter.token.arn
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.workspace.arn}:*"
      },
    ]
  })
}

# A name to run under; it costs nothing.
resource "aws_ecs_cluster" "workspace" {
  name = local.name
  tags = local.tags
}

resource "aws_ecs_task_definition" "workspace" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.cpu
  memory                   = local.memory
  execution_role_arn       = aws_iam_role.start.arn
  tags                     = local.tags

  # ARM costs a fifth less than x86.
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "ARM64"
  }

  # What is outside the home directory, new with every start.
  ephemeral_storage {
    size_in_gib = 40
  }

  volume {
    name = "home"
    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.home.id
      transit_encryption = "ENABLED"
      authorization_config {
        access_point_id = aws_efs_access_point.home.id
      }
    }
  }

  container_definitions = jsonencode([{
    name             = "workspace"
    image            = data.coder_parameter.image.value
    essential        = true
    user             = "${local.user.uid}:${local.user.gid}"
    entryPoint       = ["sh", "-c"]
    command          = [coder_agent.main.init_script]
    workingDirectory = "/home/dev"
    environment      = [{ name = "HOME", value = "/home/dev" }]
    secrets          = [{ name = "CODER_AGENT_TOKEN", valueFrom = aws_ssm_parameter.token.arn }]
    mountPoints      = [{ sourceVolume = "home", containerPath = "/home/dev" }]
    linuxParameters  = { initProcessEnabled = true } # reaps what programs leave behind
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.workspace.name
        awslogs-region        = data.aws_region.here.name
        awslogs-stream-prefix = "agent"
      }
    }
  }])
}

# The workspace itself: one container while it is started, none while it is stopped. It is started again when it ends by itself.
resource "aws_ecs_service" "workspace" {
  name            = "workspace"
  cluster         = aws_ecs_cluster.workspace.id
  task_definition = aws_ecs_task_definition.workspace.arn
  desired_count   = data.coder_workspace.me.start_count
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = local.tags

  # The home directory is for one container at a time: the old one ends before the new one begins.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  network_configuration {
    subnets          = keys(data.aws_subnet.allowed)
    security_groups  = [aws_security_group.workspace.id]
    assign_public_ip = var.assign_public_ip
  }

  # Without these the first container could not start.
  depends_on = [aws_efs_mount_target.home, aws_iam_role_policy.start, aws_vpc_security_group_egress_rule.all]
}

# Facts to show about the resources.
resource "coder_metadata" "workspace" {
  resource_id = aws_ecs_service.workspace.id
  icon        = "/icon/aws.svg"

  item {
    key   = "image"
    value = data.coder_parameter.image.value
  }
  item {
    key   = "log"
    value = aws_cloudwatch_log_group.workspace.name
  }
}

resource "coder_metadata" "home" {
  resource_id = aws_efs_file_system.home.id
  icon        = "/icon/folder.svg"

  item {
    key   = "file system"
    value = aws_efs_file_system.home.id
  }
}
