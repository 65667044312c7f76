# A container per workspace on a machine with Docker. The container exists while the workspace is started; the home directory is a
# volume and stays.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    docker = {
      source  = "kreuzwerker/docker"
      version = "~> 3.0"
    }
  }
}

variable "docker_host" {
  description = "Where Docker listens, such as ssh://berth@build.example.com. The runner's own Docker (DOCKER_HOST, else its socket) when it is not set."
  type        = string
  default     = null
}

provider "docker" {
  host = var.docker_host
}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

# The machine that runs the build; its Docker runs containers of the same kind.
data "coder_provisioner" "me" {}

data "coder_parameter" "image" {
  name         = "image"
  display_name = "Image"
  description  = "The container's image, with sh and one of curl and wget. Another image takes effect with the next start; the home directory stays."
  icon         = "/icon/docker.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "mcr.microsoft.com/devcontainers/base:ubuntu-24.04"
  mutable      = true
  order        = 1
  option {
    name  = "Ubuntu"
    value = "mcr.microsoft.com/devcontainers/base:ubuntu-24.04"
  }
  option {
    name  = "Debian"
    value = "mcr.microsoft.com/devcontainers/base:debian-12"
  }
  option {
    name  = "Rust"
    value = "mcr.microsoft.com/devcontainers/rust:1-bookworm"
  }
  option {
    name  = "Python"
    value = "mcr.microsoft.com/devcontainers/python:3-bookworm"
  }
  option {
    name  = "TypeScript and Node.js"
    value = "mcr.microsoft.com/devcontainers/typescript-node:22-bookworm"
  }
}

data "coder_parameter" "memory" {
  name         = "memory"
  display_name = "Memory"
  description  = "The most memory that the workspace may use, in GiB."
  icon         = "/icon/memory.svg"
  type         = "number"
  form_type    = "slider"
  default      = "4"
  mutable      = true
  order        = 2
  validation {
    min = 1
    max = 64
  }
}

locals {
  # Names of users and workspaces are lower-case letters, digits and hyphens, which Docker takes too.
  name = "berth-${data.coder_workspace_owner.me.name}-${data.coder_workspace.me.name}"

  # The user of these images. Its number is 1000 in all of them, so the home directory suits each.
  user = startswith(data.coder_parameter.image.value, "mcr.microsoft.com/devcontainers/typescript-node:") ? "node" : "vscode"

  labels = {
    "berth.owner"        = data.coder_workspace_owner.me.name
    "berth.workspace"    = data.coder_workspace.me.name
    "berth.workspace-id" = data.coder_workspace.me.id
  }
}

# The program that developers reach: it dials out to Berth, so the container publishes no port.
resource "coder_agent" "main" {
  os   = "linux"
  arch = data.coder_provisioner.me.arch

  env = {
    GIT_AUTHOR_NAME     = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_AUTHOR_EMAIL    = data.coder_workspace_owner.me.email
    GIT_COMMITTER_NAME  = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_COMMITTER_EMAIL = data.coder_workspace_owner.me.email
  }

  # Shown beside the workspace, measured while someone looks.
  metadata {
    key          = "memory"
    display_name = "Memory"
    script       = "awk '{ printf \"%.1f GiB\", $1 / 1024 / 1024 / 1024 }' /sys/fs/cgroup/memory.current"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "home"
    display_name = "Home directory"
    script       = "du -sh \"$HOME\" 2>/dev/null | cut -f1"
    interval     = 60
    timeout      = 10
  }
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted.
resource "docker_volume" "home" {
  name = "${local.name}-home"

  dynamic "labels" {
    for_each = local.labels
    content {
      label = labels.key
      value = labels.value
    }
  }

  lifecycle {
    # Any change would replace the volume and all that is in it: a new label is not worth that.
    ignore_changes = all
  }
}

resource "docker_image" "workspace" {
  name         = data.coder_parameter.image.value
  keep_locally = true # other workspaces use it too
}

# The workspace itself. With start_count it exists only while the workspace is started.
resource "docker_container" "workspace" {
  count    = data.coder_workspace.me.start_count
  name     = local.name
  image    = docker_image.workspace.image_id
  hostname = data.coder_workspace.me.name
  user     = local.user
  memory   = data.coder_parameter.memory.value * 1024
  init     = true # reaps what programs leave behind

  # How long the agent, its stop scripts and all that runs in the workspace may take to end by themselves; without it they are killed.
  destroy_grace_seconds = 30

  entrypoint = ["sh", "-c", coder_agent.main.init_script]
  env        = ["CODER_AGENT_TOKEN=${coder_agent.main.token}", "HOME=/home/${local.user}"]

  # The machine itself, should Berth run on it.
  host {
    host = "host.docker.internal"
    ip   = "host-gateway"
  }

  # An empty volume takes what the image has at this place, with its owner.
  volumes {
    volume_name    = docker_volume.home.name
    container_path = "/home/${local.user}"
  }

  dynamic "labels" {
    for_each = local.labels
    content {
      label = labels.key
      value = labels.value
    }
  }
}

# Facts to show about a resource.
resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = docker_container.workspace[0].id
  icon        = "/icon/docker.svg"

  item {
    key   = "image"
    value = data.coder_parameter.image.value
  }
}
