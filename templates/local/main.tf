# A workspace that is a process on the machine where Berth runs: no cloud, no containers, ready in a second.
# It is the smallest complete template. Each block says what it does; copy it and change what you need.

terraform {
  required_providers {
    # What a workspace is made of here: a directory and a process. A template for a cloud would use that cloud's provider.
    berth = {
      source = "berth/berth"
    }
    # What every workspace has, whatever it is made of: an agent, apps, parameters.
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
  }
}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

# The machine that runs the build. Here that is the machine of the workspace too.
data "coder_provisioner" "me" {}

# A question to the developer. Its answer can change with every start, because it is mutable.
data "coder_parameter" "greeting" {
  name         = "greeting"
  display_name = "Greeting"
  description  = "What the workspace says when a session opens."
  type         = "string"
  default      = "Welcome to your workspace."
  mutable      = true
  validation {
    regex = "^[^\n]{0,200}$"
    error = "A greeting is one line of at most 200 characters."
  }
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted.
resource "berth_directory" "home" {}

# The program that developers reach: it dials out to Berth, so the machine needs no open port.
resource "coder_agent" "main" {
  os   = data.coder_provisioner.me.os
  arch = data.coder_provisioner.me.arch

  env = {
    GIT_AUTHOR_NAME     = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_AUTHOR_EMAIL    = data.coder_workspace_owner.me.email
    GIT_COMMITTER_NAME  = coalesce(data.coder_workspace_owner.me.full_name, data.coder_workspace_owner.me.name)
    GIT_COMMITTER_EMAIL = data.coder_workspace_owner.me.email
  }

  motd_file = "${berth_directory.home.path}/.motd"

  # Runs in the workspace at every start, as the developer. The quoting keeps the answer text: it is never run.
  startup_script = <<-EOT
    printf '%s\n' '${replace(data.coder_parameter.greeting.value, "'", "'\\''")}' > .motd
  EOT

  # Shown beside the workspace, measured every ten seconds while someone looks.
  metadata {
    key          = "load"
    display_name = "Load average"
    script       = "uptime | sed 's/.*load average[s]*: //'"
    interval     = 10
    timeout      = 2
  }
  metadata {
    key          = "home"
    display_name = "Home directory"
    script       = "du -sh . 2>/dev/null | cut -f1"
    interval     = 60
    timeout      = 10
  }
}

# The workspace itself. With start_count it exists only while the workspace is started: a stop ends the process and all it started.
resource "berth_process" "workspace" {
  count   = data.coder_workspace.me.start_count
  command = ["sh", "-c", coder_agent.main.init_script]
  dir     = berth_directory.home.path

  # How long the agent, its stop scripts and all that runs in the workspace may take to end by themselves.
  stop_grace_seconds = 30

  env = {
    CODER_AGENT_TOKEN = coder_agent.main.token
    HOME              = berth_directory.home.path
  }
}

# Facts to show about a resource.
resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = berth_process.workspace[0].id

  item {
    key   = "directory"
    value = berth_directory.home.path
  }
  item {
    key   = "log"
    value = berth_process.workspace[0].log_file
  }
}
