# What the dashboard's stories build: every kind of question, a build that takes a few seconds, and an agent that connects.

terraform {
  required_providers {
    berth = { source = "berth/berth" }
    coder = { source = "coder/coder" }
  }
}

variable "team" {
  description = "Who pays."
  type        = string
  default     = "harbour"
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}

data "coder_parameter" "region" {
  name         = "region"
  display_name = "Region"
  description  = "Where the machine stands. It **cannot** be changed later."
  order        = 1
  mutable      = false
  default      = "eu"
  option {
    name        = "Europe"
    description = "Frankfurt"
    value       = "eu"
  }
  option {
    name        = "America"
    description = "Ohio"
    value       = "us"
  }
}

data "coder_parameter" "disk" {
  name         = "disk"
  display_name = "Disk"
  description  = "Size of the home disk in GB."
  type         = "number"
  order        = 2
  mutable      = true
  default      = "20"
  validation {
    min       = 10
    max       = 100
    monotonic = "increasing"
  }
}

data "coder_parameter" "tools" {
  name         = "tools"
  display_name = "Tools"
  description  = "What is installed at the first start."
  type         = "list(string)"
  form_type    = "multi-select"
  order        = 3
  mutable      = true
  default      = jsonencode(["git"])
  option {
    name  = "Git"
    value = "git"
  }
  option {
    name  = "Vim"
    value = "vim"
  }
  option {
    name  = "Node.js"
    value = "node"
  }
}

data "coder_parameter" "dotfiles" {
  name         = "dotfiles"
  display_name = "Dotfiles"
  description  = "A Git repository, or nothing."
  order        = 4
  mutable      = true
  default      = ""
  validation {
    regex = "^(https://.+)?$"
    error = "A dotfiles address begins with https://."
  }
}

data "coder_parameter" "debug" {
  name         = "debug"
  display_name = "Say more"
  description  = "For this build only."
  type         = "bool"
  order        = 5
  default      = "false"
  mutable      = true
  ephemeral    = true
}

data "coder_workspace_preset" "small" {
  name        = "Small"
  description = "For a look around."
  default     = true
  parameters  = { disk = "10", tools = jsonencode(["git"]) }
}

data "coder_workspace_preset" "large" {
  name        = "Large"
  description = "For work that lasts."
  parameters  = { disk = "80", tools = jsonencode(["git", "vim", "node"]) }
}

resource "berth_directory" "home" {}

resource "coder_agent" "main" {
  os             = data.coder_provisioner.me.os
  arch           = data.coder_provisioner.me.arch
  startup_script = "echo 'Installing ${join(", ", jsondecode(data.coder_parameter.tools.value))}'"
  metadata {
    key          = "weather"
    display_name = "Weather"
    script       = "echo fair"
    interval     = 5
    timeout      = 30
  }
  display_apps {
    vscode       = true
    ssh_helper   = true
    web_terminal = true
  }
}

resource "coder_app" "docs" {
  agent_id     = coder_agent.main.id
  slug         = "docs"
  display_name = "Team handbook"
  url          = "https://example.com/handbook"
  external     = true
}

resource "coder_app" "web" {
  agent_id     = coder_agent.main.id
  slug         = "web"
  display_name = "Dev server"
  url          = "http://localhost:3000"
}

resource "coder_app" "log_book" {
  agent_id     = coder_agent.main.id
  slug         = "log-book"
  display_name = "Log book"
  group        = "On board"
  command      = "echo \"all is well in $CODER_WORKSPACE_NAME\"; exec sh"
}

# A build has something to watch.
resource "terraform_data" "network" {
  count = data.coder_workspace.me.start_count
  provisioner "local-exec" {
    command = "for step in one two three; do echo \"laying cable $step\"; sleep 1; done"
  }
  provisioner "local-exec" {
    command = data.coder_parameter.dotfiles.value == "https://sink" ? "echo the ship sank; exit 1" : "true"
  }
  triggers_replace = data.coder_parameter.dotfiles.value
}

resource "berth_process" "workspace" {
  count      = data.coder_workspace.me.start_count
  command    = ["sh", "-c", coder_agent.main.init_script]
  dir        = berth_directory.home.path
  depends_on = [terraform_data.network]

  env = {
    CODER_AGENT_TOKEN = coder_agent.main.token
    HOME              = berth_directory.home.path
  }
}

resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = berth_process.workspace[0].id
  daily_cost  = 3
  item {
    key   = "region"
    value = data.coder_parameter.region.value
  }
  item {
    key   = "disk"
    value = "${data.coder_parameter.disk.value} GB for ${var.team}"
  }
  item {
    key       = "password"
    value     = "hunter2"
    sensitive = true
  }
}
