terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    berth = { source = "berth/berth" }
  }
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}
data "coder_task" "me" {}

data "coder_parameter" "size" {
  name    = "size"
  type    = "number"
  default = "10"
  mutable = true
  validation {
    min       = 5
    max       = 100
    monotonic = "increasing"
    error     = "size must be {min} to {max}, not {value}"
  }
}

data "coder_parameter" "region" {
  name         = "region"
  display_name = "Region"
  default      = "eu"
  dynamic "option" {
    for_each = { eu = "Europe", us = "America" }
    content {
      name  = option.value
      value = option.key
    }
  }
}

data "coder_parameter" "tools" {
  name      = "tools"
  type      = "list(string)"
  form_type = "multi-select"
  default   = jsonencode(["git"])
  option {
    name  = "Git"
    value = "git"
  }
  option {
    name  = "Jq"
    value = "jq"
  }
}

data "coder_workspace_preset" "small" {
  name       = "Small"
  parameters = { (data.coder_parameter.size.name) = "10" }
  prebuilds {
    instances = 1
    expiration_policy { ttl = 86400 }
    scheduling {
      timezone = "UTC"
      schedule {
        cron      = "* 8-18 * * 1-5"
        instances = 2
      }
    }
  }
}

data "coder_workspace_tags" "tags" { tags = { pool = "small" } }

data "coder_external_auth" "github" {
  id       = "github"
  optional = true
}

data "coder_secret" "npm" {
  env          = "NPM_TOKEN"
  help_message = "make one"
}

locals {
  apps = { vscode = true }
  user = data.coder_workspace.me.owner
}

resource "coder_agent" "main" {
  os             = "linux"
  arch           = "amd64"
  startup_script = "echo hello ${local.user}"
  env            = { EMAIL = data.coder_workspace_owner.me.email }

  dynamic "display_apps" {
    for_each = [local.apps]
    content {
      vscode       = display_apps.value.vscode
      web_terminal = false
    }
  }

  dynamic "metadata" {
    for_each = ["cpu", "ram"]
    content {
      key          = metadata.value
      display_name = upper(metadata.value)
      script       = "coder stat ${metadata.value}"
      interval     = 10
    }
  }

  resources_monitoring {
    memory {
      enabled   = true
      threshold = 80
    }
    volume {
      path      = "/home"
      enabled   = true
      threshold = 90
    }
  }
}

resource "coder_agent" "windows" {
  os   = "windows"
  arch = "amd64"
  auth = "aws-instance-identity"
}

resource "coder_agent_instance" "windows" {
  agent_id    = coder_agent.windows.id
  instance_id = "i-1"
}

resource "coder_app" "code" {
  agent_id  = coder_agent.main.id
  slug      = "code-server"
  url       = "http://localhost:8080?user=${local.user}"
  icon      = "/icon/code.svg"
  subdomain = true
  healthcheck {
    url       = "http://localhost:8080/healthz"
    interval  = 5
    threshold = 6
  }
}

resource "coder_env" "greeting" {
  agent_id = coder_agent.main.id
  name     = "GREETING"
  value    = data.coder_parameter.region.option[0].name
}

resource "coder_script" "setup" {
  agent_id     = coder_agent.main.id
  display_name = "Setup"
  script       = "true"
  run_on_start = true
  cron         = "0 0 3 * * *"
}

resource "coder_devcontainer" "app" {
  agent_id         = coder_agent.main.id
  workspace_folder = "/w"
}

resource "coder_external_agent" "one" { agent_id = coder_agent.windows.id }

resource "coder_ai_task" "task" { app_id = coder_app.code.id }

resource "berth_directory" "home" {}

resource "berth_process" "workspace" {
  count   = data.coder_workspace.me.start_count
  command = ["/bin/sh", "-c", "env > $HOME/environment; cd / && exec sleep 1000"]
  dir     = berth_directory.home.path
  env = {
    AGENT_TOKEN = coder_agent.main.token
    INIT        = coder_agent.main.init_script
  }
}

resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = berth_process.workspace[0].id
  daily_cost  = 3
  item {
    key   = "size"
    value = data.coder_parameter.size.value
  }
  item {
    key       = "secret"
    value     = coder_agent.main.token
    sensitive = true
  }
  item {
    key = "none"
  }
}

output "apps" { value = one(coder_agent.main.display_apps).ssh_helper }
