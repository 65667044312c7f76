# A Linux machine on Amazon EC2 for each workspace.
#
# The machine, its system disk and the home volume stay while the workspace is stopped; only the machine is off. Nobody can reach it
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

# What whoever pushes the template may set: `berth templates push aws-linux --variable region=eu-central-1`.

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
  display_name = "Machine"
  description  = "How many processors and how much memory. Another choice takes effect with the next start; disks stay as they are."
  icon         = "/icon/memory.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "t3.medium"
  mutable      = true
  order        = 1
  option {
    name  = "2 processors, 2 GiB"
    value = "t3.small"
  }
  option {
    name  = "2 processors, 4 GiB"
    value = "t3.medium"
  }
  option {
    name  = "2 processors, 8 GiB"
    value = "t3.large"
  }
  option {
    name  = "4 processors, 16 GiB"
    value = "t3.xlarge"
  }
  option {
    name  = "8 processors, 32 GiB"
    value = "t3.2xlarge"
  }
}

data "coder_parameter" "home_size" {
  name         = "home_size"
  display_name = "Home volume"
  description  = "The size of the home directory in GiB. It can grow with any start, but never shrink."
  icon         = "/icon/folder.svg"
  type         = "number"
  form_type    = "slider"
  default      = "30"
  mutable      = true
  order        = 2
  validation {
    min       = 10
    max       = 500
    monotonic = "increasing"
  }
}

locals {
  name = "berth-${data.coder_workspace.me.owner}-${data.coder_workspace.me.name}"
  tags = {
    Name  = local.name
    Owner = data.coder_workspace_owner.me.name
  }

  is_start = data.coder_workspace.me.transition == "start"

  # The zones where workspaces may be put and where the chosen machine is to be had.
  zones = sort(distinct([
    for subnet in data.aws_subnet.allowed : subnet.availability_zone
    if contains(data.aws_ec2_instance_type_offerings.chosen.locations, subnet.availability_zone)
  ]))

  # A volume cannot leave its zone, so the machine goes where the volume is.
  subnet = try([for subnet in data.aws_subnet.allowed : subnet if subnet.availability_zone == aws_ebs_volume.home.availability_zone][0], null)
}

# The newest Ubuntu LTS that Canonical (account 099720109477) published in the region.
data "aws_ami" "ubuntu" {
  owners      = ["099720109477"]
  most_recent = true

  filter {
    name   = "name"
    values = ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]
  }
  filter {
    name   = "virtualization-type"
    values = ["hvm"]
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
  os   = "linux"
  arch = "amd64"
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
    script       = "cut -d ' ' -f 1-3 /proc/loadavg"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "memory"
    display_name = "Memory"
    script       = "free -h | awk '/^Mem:/ { print $3 \" of \" $2 }'"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "home"
    display_name = "Home volume"
    script       = "df -h --output=used,size \"$HOME\" | awk 'NR == 2 { print $1 \" of \" $2 }'"
    interval     = 60
    timeout      = 2
  }
}

# The home directory. It is a volume of its own, so it outlives the machine: it goes only when the workspace is deleted.
resource "aws_ebs_volume" "home" {
  availability_zone = try(local.zones[0], null)
  size              = data.coder_parameter.home_size.value
  type              = "gp3"
  encrypted         = true
  tags              = merge(local.tags, { Name = "${local.name}-home" })

  lifecycle {
    # A new subnet, or another type of machine, may put another zone first. The volume stays where it was made.
    ignore_changes = [availability_zone]
    precondition {
      condition     = length(local.zones) > 0
      error_message = "No zone has both a subnet for workspaces and ${data.coder_parameter.instance_type.value} machines. Choose another machine, or set the template's variable subnet_ids."
    }
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
  ami                    = data.aws_ami.ubuntu.id
  instance_type          = data.coder_parameter.instance_type.value
  subnet_id              = try(local.subnet.id, null)
  vpc_security_group_ids = [aws_security_group.workspace.id]

  # What the machine does at each boot. While the workspace is started: mount the home volume and run the agent. While it is
  # stopped: turn itself off again, so that a machine which somebody starts behind Berth's back does not run, and cost, unnoticed.
  user_data = local.is_start ? templatefile("${path.module}/start.yaml.tftpl", {
    volume      = aws_ebs_volume.home.id
    init_script = coder_agent.main.init_script
  }) : file("${path.module}/stop.yaml")
  user_data_replace_on_change          = false
  instance_initiated_shutdown_behavior = "stop"

  # Session tokens for the metadata service (IMDSv2), and no hop further: a container on the machine cannot ask it.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # A machine that is busy for days slows down instead of costing more than its hourly price.
  credit_specification {
    cpu_credits = "standard"
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = 20
    encrypted             = true
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${local.name}-system" })
  }

  tags = local.tags

  lifecycle {
    # A newer image would replace the machine, and with it everything on its system disk. New workspaces get the newer image.
    ignore_changes = [ami, subnet_id]
  }
}

resource "aws_volume_attachment" "home" {
  device_name                    = "/dev/sdh"
  instance_id                    = aws_instance.workspace.id
  volume_id                      = aws_ebs_volume.home.id
  stop_instance_before_detaching = true
}

# On and off. Counting the machine by start_count would be simpler, but each stop would then destroy the system disk with all that
# was installed on it, and each start would be a first boot.
resource "aws_ec2_instance_state" "workspace" {
  instance_id = aws_instance.workspace.id
  state       = local.is_start ? "running" : "stopped"
}

# Facts to show about the resources.
resource "coder_metadata" "workspace" {
  resource_id = aws_instance.workspace.id
  icon        = "/icon/aws.svg"

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

resource "coder_metadata" "home" {
  resource_id = aws_ebs_volume.home.id
  icon        = "/icon/folder.svg"

  item {
    key   = "size"
    value = "${aws_ebs_volume.home.size} GiB"
  }
}
