# A Mac on Amazon EC2 for each workspace.
#
# A Mac runs on a dedicated host, which is paid for from its allocation to its release, 24 hours at least, whether the Mac is on or
# off. It is released when the workspace is deleted. The Mac's disk stays while the workspace is stopped. Nobody can reach the Mac
# from outside: the agent on it dials out to Berth, and developers come in through that connection.

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

# What whoever pushes the template may set: `berth templates push aws-mac --variable region=eu-central-1`.

variable "region" {
  description = "The AWS region of the workspaces. The runner's own region (AWS_REGION) when it is not set."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "The subnets that workspaces may be put into, each with a way to the internet. The default subnets of the default VPC when it is empty."
  type        = list(string)
  default     = []
}

# Credentials are the runner's: none stand in a template.
provider "aws" {
  region = var.region
}

# The build at hand: whose workspace, its name, and whether this build starts or stops it.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "instance_type" {
  name         = "instance_type"
  display_name = "Mac"
  description  = "Which Mac. It cannot change: another one is another host."
  icon         = "/icon/memory.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "mac2.metal"
  mutable      = false
  order        = 1
  option {
    name  = "Mac mini, M1, 16 GiB"
    value = "mac2.metal"
  }
  option {
    name  = "Mac mini, M2, 24 GiB"
    value = "mac2-m2.metal"
  }
  option {
    name  = "Mac mini, M2 Pro, 32 GiB"
    value = "mac2-m2pro.metal"
  }
}

data "coder_parameter" "disk_size" {
  name         = "disk_size"
  display_name = "Disk"
  description  = "The size of the disk in GiB. It can grow with any start, but never shrink; macOS sees the new size after `diskutil apfs resizeContainer`."
  icon         = "/icon/folder.svg"
  type         = "number"
  form_type    = "slider"
  default      = "200"
  mutable      = true
  order        = 2
  validation {
    min       = 100
    max       = 1000
    monotonic = "increasing"
  }
}

locals {
  name = "berth-${data.coder_workspace.me.owner}-${data.coder_workspace.me.name}"
  tags = {
    Name  = local.name
    Owner = data.coder_workspace_owner.me.name
  }

  # The zones where workspaces may be put and where the chosen machine is to be had.
  zones = sort(distinct([
    for subnet in data.aws_subnet.allowed : subnet.availability_zone
    if contains(data.aws_ec2_instance_type_offerings.chosen.locations, subnet.availability_zone)
  ]))

  # A host cannot leave its zone, so the Mac goes where its host is.
  subnet = try([for subnet in data.aws_subnet.allowed : subnet if subnet.availability_zone == aws_ec2_host.workspace.availability_zone][0], null)
}

# The newest macOS 15 that Amazon published in the region.
data "aws_ami" "macos" {
  owners      = ["amazon"]
  most_recent = true

  filter {
    name   = "name"
    values = ["amzn-ec2-macos-15.*"]
  }
  filter {
    name   = "architecture"
    values = ["arm64_mac"]
  }
}

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

data "aws_ec2_instance_type_offerings" "chosen" {
  location_type = "availability-zone"
  filter {
    name   = "instance-type"
    values = [data.coder_parameter.instance_type.value]
  }
}

# The program that developers reach. With instance identity it proves who it is by a document that AWS signs for this one machine: no
# secret stands in the user data, which anyone who may describe the instance can read.
resource "coder_agent" "main" {
  os   = "darwin"
  arch = "arm64"
  auth = "aws-instance-identity"

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
    script       = "sysctl -n vm.loadavg | tr -d '{}'"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "disk"
    display_name = "Disk"
    script       = "df -h / | awk 'NR == 2 { print $3 \" of \" $2 }'"
    interval     = 60
    timeout      = 2
  }
}

# The host: one real Mac in Amazon's rack, for this workspace alone. It has no count, so it stays while the workspace is stopped: a
# Mac's host cannot be given back within 24 hours, and getting one again may take hours or fail.
resource "aws_ec2_host" "workspace" {
  instance_type     = data.coder_parameter.instance_type.value
  availability_zone = try(local.zones[0], null)
  auto_placement    = "off"
  host_recovery     = "off"
  tags              = local.tags

  lifecycle {
    # A new subnet may put another zone first. The host stays where it was allocated.
    ignore_changes = [availability_zone]
    precondition {
      condition     = length(local.zones) > 0
      error_message = "No zone has both a subnet for workspaces and ${data.coder_parameter.instance_type.value}. Choose another Mac, or set the template's variable subnet_ids."
    }
  }

  timeouts {
    # After a Mac is terminated its host is wiped, which takes up to two hours, before it can be released.
    delete = "3h"
  }
}

# Nothing may connect to the machine: there is no ingress rule. The machine may connect to anything.
resource "aws_security_group" "workspace" {
  name_prefix = "${local.name}-"
  description = "Berth workspace ${local.name}: nothing in, everything out"
  vpc_id      = local.subnet.vpc_id
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

# The machine. It has no IAM role: what a developer runs there has no rights in the AWS account.
resource "aws_instance" "workspace" {
  ami                    = data.aws_ami.macos.id
  instance_type          = data.coder_parameter.instance_type.value
  subnet_id              = try(local.subnet.id, null)
  vpc_security_group_ids = [aws_security_group.workspace.id]

  # The first boot installs the agent as a service that macOS runs at each boot: user data runs at a Mac's first boot only. A later
  # change of it would mean nothing to this Mac, and must not stop it.
  user_data = templatefile("${path.module}/start.sh.tftpl", {
    init_script = coder_agent.main.init_script
  })
  instance_initiated_shutdown_behavior = "stop"
  tenancy                              = "host"
  host_id                              = aws_ec2_host.workspace.id

  # Session tokens for the metadata service (IMDSv2), and no hop further: a container on the machine cannot ask it.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = data.coder_parameter.disk_size.value
    encrypted             = true
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${local.name}-system" })
  }

  tags = local.tags

  lifecycle {
    # A newer image would replace the machine, and with it everything on its system disk. New workspaces get the newer image.
    ignore_changes = [ami, subnet_id, user_data]
  }
}

# On and off. Counting the Mac by start_count would be simpler, but each stop would then destroy its disk and have its host wiped.
resource "aws_ec2_instance_state" "workspace" {
  instance_id = aws_instance.workspace.id
  state       = data.coder_workspace.me.transition == "start" ? "running" : "stopped"
}

# Facts to show about the resources.
resource "coder_metadata" "workspace" {
  resource_id = aws_instance.workspace.id
  icon        = "/icon/apple.svg"

  item {
    key   = "machine"
    value = aws_instance.workspace.instance_type
  }
  item {
    key   = "zone"
    value = aws_instance.workspace.availability_zone
  }
  item {
    key   = "image"
    value = aws_instance.workspace.ami
  }
}

resource "coder_metadata" "host" {
  resource_id = aws_ec2_host.workspace.id
  icon        = "/icon/apple.svg"

  item {
    key   = "host"
    value = aws_ec2_host.workspace.id
  }
  item {
    key   = "paid for"
    value = "from its allocation to its release, 24 hours at least"
  }
}
