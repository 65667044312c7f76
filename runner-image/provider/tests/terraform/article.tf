terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}

provider "coder" {}

data "coder_workspace" "me" {}

data "coder_parameter" "region" {
  name         = "region"
  display_name = "Region"
  description  = "The region to deploy the workspace in."
  default      = "us-east-1"
  mutable      = false
  option {
    name  = "US East"
    value = "us-east-1"
    icon  = "/emojis/1f1fa-1f1f8.png"
  }
  option {
    name  = "Europe"
    value = "eu-central-1"
    icon  = "/emojis/1f1ea-1f1fa.png"
  }
}

resource "coder_agent" "main" {
  count = data.coder_workspace.me.start_count
  arch  = "amd64"
  auth  = "token"
  os    = "linux"
  env = {
    GIT_AUTHOR_NAME  = coalesce(data.coder_workspace.me.owner_name, data.coder_workspace.me.owner)
    GIT_AUTHOR_EMAIL = data.coder_workspace.me.owner_email
  }
  startup_script = "code-server --auth none"
}

resource "coder_app" "code" {
  count    = data.coder_workspace.me.start_count
  agent_id = coder_agent.main[0].id
  slug     = "code-server"
  url      = "http://localhost:13337/?folder=/home/coder"
}

locals {
  linux_user      = "coder"
  user_data_start = <<-EOT
    #!/bin/bash
    sudo -u ${local.linux_user} sh -c '${try(coder_agent.main[0].init_script, "")}'
  EOT
  user_data_end   = <<-EOT
    #!/bin/bash
    sudo shutdown -h now
  EOT
}

# In the place of a cloud's instance.
resource "terraform_data" "instance" {
  input = {
    region    = data.coder_parameter.region.value
    user_data = data.coder_workspace.me.transition == "start" ? local.user_data_start : local.user_data_end
    tags = {
      Name   = "coder-${data.coder_workspace.me.owner}-${data.coder_workspace.me.name}"
      Owner  = data.coder_workspace.me.owner_name
      Email  = data.coder_workspace.me.owner_email
      Id     = data.coder_workspace.me.owner_id
      Groups = join(",", data.coder_workspace.me.owner_groups)
    }
  }
}

resource "coder_metadata" "instance" {
  resource_id = terraform_data.instance.id
  item {
    key   = "region"
    value = data.coder_parameter.region.value
  }
}
