# A pod per workspace on a Kubernetes cluster. The pod exists while the workspace is started; the home directory is a persistent
# volume and stays.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 2.36"
    }
  }
}

# What whoever pushes the template sets: `berth templates push kubernetes --variable namespace=workspaces`.

variable "namespace" {
  description = "The namespace of the workspaces. It must exist; the runner needs no rights outside it."
  type        = string
}

variable "storage_class" {
  description = "The storage class of home directories. The cluster's default class when it is not set."
  type        = string
  default     = null
}

# Credentials are the runner's: its service account when it runs in the cluster, else KUBE_CONFIG_PATH and the other KUBE_* variables.
provider "kubernetes" {}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "image" {
  name         = "image"
  display_name = "Image"
  description  = "The container's image, with sh and one of curl and wget. It runs as user 1000."
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

data "coder_parameter" "cpu" {
  name         = "cpu"
  display_name = "Processors"
  description  = "The most processors that the workspace may use."
  icon         = "/icon/memory.svg"
  type         = "number"
  form_type    = "slider"
  default      = "2"
  mutable      = true
  order        = 2
  validation {
    min = 1
    max = 16
  }
}

data "coder_parameter" "memory" {
  name         = "memory"
  display_name = "Memory"
  description  = "The memory of the workspace, in GiB."
  icon         = "/icon/memory.svg"
  type         = "number"
  form_type    = "slider"
  default      = "4"
  mutable      = true
  order        = 3
  validation {
    min = 1
    max = 64
  }
}

data "coder_parameter" "home_size" {
  name         = "home_size"
  display_name = "Home volume"
  description  = "The size of the home directory in GiB. It can grow where the storage class allows that, but never shrink."
  icon         = "/icon/folder.svg"
  type         = "number"
  form_type    = "slider"
  default      = "20"
  mutable      = true
  order        = 4
  validation {
    min       = 5
    max       = 500
    monotonic = "increasing"
  }
}

locals {
  # By id: a name of Kubernetes ends after 63 characters, and two long names could become one.
  name = "berth-${data.coder_workspace.me.id}"
  labels = {
    "app.kubernetes.io/name"       = "berth-workspace"
    "app.kubernetes.io/instance"   = local.name
    "app.kubernetes.io/managed-by" = "berth"
    "berth.workspace-id"           = data.coder_workspace.me.id
  }
  annotations = {
    "berth.owner"     = data.coder_workspace_owner.me.name
    "berth.workspace" = data.coder_workspace.me.name
  }
}

# The program that developers reach: it dials out to Berth, so there is no service and no ingress.
resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"

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
    display_name = "Home volume"
    script       = "df -h --output=used,size \"$HOME\" | awk 'NR == 2 { print $1 \" of \" $2 }'"
    interval     = 60
    timeout      = 2
  }
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted.
resource "kubernetes_persistent_volume_claim_v1" "home" {
  metadata {
    name        = "${local.name}-home"
    namespace   = var.namespace
    labels      = local.labels
    annotations = local.annotations
  }
  # Many classes make the volume when the first pod uses it: waiting for it here would never end.
  wait_until_bound = false

  spec {
    access_modes       = ["ReadWriteOnce"]
    storage_class_name = var.storage_class
    resources {
      requests = { storage = "${data.coder_parameter.home_size.value}Gi" }
    }
  }
}

# The agent's token, so that it does not stand in the pod, which more people may read than secrets.
resource "kubernetes_secret_v1" "agent" {
  count = data.coder_workspace.me.start_count
  metadata {
    name      = "${local.name}-agent"
    namespace = var.namespace
    labels    = local.labels
  }
  data = { token = coder_agent.main.token }
}

# Nothing in the cluster may connect to the pod: it selects the pod and allows no ingress. The pod may connect to anything.
resource "kubernetes_network_policy_v1" "workspace" {
  metadata {
    name      = local.name
    namespace = var.namespace
    labels    = local.labels
  }
  spec {
    pod_selector {
      match_labels = { "berth.workspace-id" = data.coder_workspace.me.id }
    }
    policy_types = ["Ingress"]
  }
}

# The workspace itself: one pod, made anew on another node when its node is lost.
resource "kubernetes_deployment_v1" "workspace" {
  count            = data.coder_workspace.me.start_count
  wait_for_rollout = false # the agent tells when it is there, and why not

  metadata {
    name        = local.name
    namespace   = var.namespace
    labels      = local.labels
    annotations = local.annotations
  }

  spec {
    replicas = 1
    # The volume can be on one node at a time, so the old pod ends before the new one begins.
    strategy {
      type = "Recreate"
    }
    selector {
      match_labels = { "berth.workspace-id" = data.coder_workspace.me.id }
    }

    template {
      metadata {
        labels      = local.labels
        annotations = local.annotations
      }
      spec {
        hostname                         = data.coder_workspace.me.name
        automount_service_account_token  = false # a developer has no rights in the cluster
        enable_service_links             = false
        termination_grace_period_seconds = 30 # for the agent, its stop scripts and all that runs in the workspace

        security_context {
          run_as_user            = 1000
          run_as_group           = 1000
          run_as_non_root        = true
          fs_group               = 1000
          fs_group_change_policy = "OnRootMismatch"
          seccomp_profile {
            type = "RuntimeDefault"
          }
        }

        container {
          name    = "workspace"
          image   = data.coder_parameter.image.value
          command = ["sh", "-c", coder_agent.main.init_script]

          security_context {
            allow_privilege_escalation = false
            capabilities {
              drop = ["ALL"]
            }
          }

          env {
            name = "CODER_AGENT_TOKEN"
            value_from {
              secret_key_ref {
                name = kubernetes_secret_v1.agent[0].metadata[0].name
                key  = "token"
              }
            }
          }
          env {
            name  = "HOME"
            value = "/home/dev"
          }
          working_dir = "/home/dev"

          resources {
            requests = {
              cpu    = "250m"
              memory = "${data.coder_parameter.memory.value}Gi"
            }
            limits = {
              cpu    = data.coder_parameter.cpu.value
              memory = "${data.coder_parameter.memory.value}Gi"
            }
          }

          volume_mount {
            name       = "home"
            mount_path = "/home/dev"
          }
        }

        volume {
          name = "home"
          persistent_volume_claim {
            claim_name = kubernetes_persistent_volume_claim_v1.home.metadata[0].name
          }
        }
      }
    }
  }
}

# Facts to show about a resource.
resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = kubernetes_deployment_v1.workspace[0].id
  icon        = "/icon/kubernetes.svg"

  item {
    key   = "namespace"
    value = var.namespace
  }
  item {
    key   = "image"
    value = data.coder_parameter.image.value
  }
}
