# A Linux machine on Google Compute Engine for each workspace.
#
# A stop destroys the machine; the home disk stays and is mounted again at the next start. Nobody can reach the machine from outside:
# the agent on it dials out to Berth, and developers come in through that connection.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.0"
    }
  }
}

# What whoever pushes the template sets: `berth templates push gcp-linux --variable zone=europe-west3-a`.

variable "zone" {
  description = "The zone of the workspaces, such as europe-west3-a."
  type        = string
}

variable "project" {
  description = "The project of the workspaces. The runner's own (GOOGLE_PROJECT) when it is not set."
  type        = string
  default     = null
}

variable "network" {
  description = "The VPC network of the workspaces. It needs a subnetwork in the zone's region."
  type        = string
  default     = "default"
}

# Credentials are the runner's: none stand in a template.
provider "google" {
  project = var.project
  zone    = var.zone
}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "machine_type" {
  name         = "machine_type"
  display_name = "Machine"
  description  = "How many processors and how much memory. Another choice takes effect with the next start."
  icon         = "/icon/memory.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "e2-standard-2"
  mutable      = true
  order        = 1
  option {
    name  = "2 processors, 4 GiB"
    value = "e2-medium"
  }
  option {
    name  = "2 processors, 8 GiB"
    value = "e2-standard-2"
  }
  option {
    name  = "4 processors, 16 GiB"
    value = "e2-standard-4"
  }
  option {
    name  = "8 processors, 32 GiB"
    value = "e2-standard-8"
  }
}

data "coder_parameter" "home_size" {
  name         = "home_size"
  display_name = "Home disk"
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
  # By id: a name of Compute Engine ends after 63 characters, and two long names could become one.
  name = "berth-${data.coder_workspace.me.id}"
  labels = {
    berth-workspace-id = data.coder_workspace.me.id
    berth-workspace    = lower(data.coder_workspace.me.name)
    berth-owner        = lower(data.coder_workspace_owner.me.name)
  }
}

# The newest Ubuntu LTS.
data "google_compute_image" "ubuntu" {
  family  = "ubuntu-2404-lts-amd64"
  project = "ubuntu-os-cloud"
}

# The program that developers reach. It is counted, so each start gives it a new token and a stop makes the old one worthless.
resource "coder_agent" "main" {
  count = data.coder_workspace.me.start_count
  os    = "linux"
  arch  = "amd64"

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
    key          = "home"
    display_name = "Home disk"
    script       = "df -h --output=used,size \"$HOME\" | awk 'NR == 2 { print $1 \" of \" $2 }'"
    interval     = 60
    timeout      = 2
  }
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted. Compute
# Engine encrypts every disk.
resource "google_compute_disk" "home" {
  name   = "${local.name}-home"
  type   = "pd-balanced"
  size   = data.coder_parameter.home_size.value
  labels = local.labels
}

# Nothing may connect to the machine. Networks often allow some traffic to every machine (the default network: SSH from anywhere);
# this rule comes before those, for machines with this workspace's tag.
resource "google_compute_firewall" "nothing_in" {
  name        = local.name
  description = "Berth workspace ${data.coder_workspace_owner.me.name}/${data.coder_workspace.me.name}: nothing in"
  network     = var.network
  direction   = "INGRESS"
  priority    = 100
  target_tags = [local.name]

  source_ranges = ["0.0.0.0/0"]
  deny {
    protocol = "all"
  }
}

# The machine. It has no service account: what a developer runs there has no rights in the project.
resource "google_compute_instance" "workspace" {
  count        = data.coder_workspace.me.start_count
  name         = local.name
  machine_type = data.coder_parameter.machine_type.value
  labels       = local.labels
  tags         = [local.name]

  boot_disk {
    initialize_params {
      image = data.google_compute_image.ubuntu.self_link
      size  = 20
      type  = "pd-balanced"
    }
  }
  attached_disk {
    source      = google_compute_disk.home.id
    device_name = "home"
  }

  network_interface {
    network = var.network
    # A public address, to reach the internet without a NAT gateway.
    access_config {}
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    block-project-ssh-keys = "TRUE"
    serial-port-enable     = "FALSE"
  }
  metadata_startup_script = templatefile("${path.module}/start.sh.tftpl", {
    init_script = coder_agent.main[0].init_script
    token       = coder_agent.main[0].token
  })

  # Made before the machine is there, gone after it is.
  depends_on = [google_compute_firewall.nothing_in]

  lifecycle {
    # A newer image waits for the next start.
    ignore_changes = [boot_disk[0].initialize_params[0].image]
  }
}

# Facts to show about the resources.
resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = google_compute_instance.workspace[0].id
  icon        = "/icon/gcp.svg"

  item {
    key   = "machine"
    value = google_compute_instance.workspace[0].machine_type
  }
  item {
    key   = "zone"
    value = google_compute_instance.workspace[0].zone
  }
}

resource "coder_metadata" "home" {
  resource_id = google_compute_disk.home.id
  icon        = "/icon/folder.svg"

  item {
    key   = "size"
    value = "${google_compute_disk.home.size} GiB"
  }
}
