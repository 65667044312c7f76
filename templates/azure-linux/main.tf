# A Linux machine on Azure for each workspace.
#
# A stop destroys the machine; the home disk stays and is mounted again at the next start. Nobody can reach the machine from outside:
# the agent on it dials out to Berth, and developers come in through that connection.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = "~> 2.0"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.0"
    }
    tls = {
      source  = "hashicorp/tls"
      version = "~> 4.0"
    }
  }
}

# What whoever pushes the template sets: `berth templates push azure-linux --variable location=westeurope`.

variable "location" {
  description = "The Azure region of the workspaces, such as westeurope."
  type        = string
}

# Credentials and the subscription are the runner's (ARM_*): none stand in a template.
provider "azurerm" {
  features {}
}

# The build at hand: whose workspace, its name, and start_count, which is 1 while it is started and 0 while it is stopped.
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "size" {
  name         = "size"
  display_name = "Machine"
  description  = "How many processors and how much memory. Another choice takes effect with the next start."
  icon         = "/icon/memory.svg"
  type         = "string"
  form_type    = "dropdown"
  default      = "Standard_D2as_v5"
  mutable      = true
  order        = 1
  option {
    name  = "2 processors, 8 GiB"
    value = "Standard_D2as_v5"
  }
  option {
    name  = "4 processors, 16 GiB"
    value = "Standard_D4as_v5"
  }
  option {
    name  = "8 processors, 32 GiB"
    value = "Standard_D8as_v5"
  }
}

data "coder_parameter" "home_size" {
  name         = "home_size"
  display_name = "Home disk"
  description  = "The size of the home directory in GiB. It can grow with any start, but never shrink."
  icon         = "/icon/folder.svg"
  type         = "number"
  form_type    = "slider"
  default      = "32"
  mutable      = true
  order        = 2
  validation {
    min       = 16
    max       = 512
    monotonic = "increasing"
  }
}

locals {
  # By id: two long names could become one where Azure cuts them.
  name = "berth-${data.coder_workspace.me.id}"
  tags = {
    berth-workspace-id = data.coder_workspace.me.id
    berth-workspace    = data.coder_workspace.me.name
    berth-owner        = data.coder_workspace_owner.me.name
  }
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

# All of a workspace is in one group, so that nothing of it can be overlooked.
resource "azurerm_resource_group" "workspace" {
  name     = local.name
  location = var.location
  tags     = local.tags
}

resource "azurerm_virtual_network" "workspace" {
  name                = "workspace"
  resource_group_name = azurerm_resource_group.workspace.name
  location            = azurerm_resource_group.workspace.location
  address_space       = ["10.0.0.0/24"]
  tags                = local.tags
}

resource "azurerm_subnet" "workspace" {
  name                 = "workspace"
  resource_group_name  = azurerm_resource_group.workspace.name
  virtual_network_name = azurerm_virtual_network.workspace.name
  address_prefixes     = ["10.0.0.0/24"]
}

# Nothing may connect to the machine. The machine may connect to anything.
resource "azurerm_network_security_group" "workspace" {
  name                = "workspace"
  resource_group_name = azurerm_resource_group.workspace.name
  location            = azurerm_resource_group.workspace.location
  tags                = local.tags

  security_rule {
    name                       = "nothing-in"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_port_range          = "*"
    destination_port_range     = "*"
    source_address_prefix      = "*"
    destination_address_prefix = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "workspace" {
  subnet_id                 = azurerm_subnet.workspace.id
  network_security_group_id = azurerm_network_security_group.workspace.id
}

# A public address, to reach the internet without a NAT gateway.
resource "azurerm_public_ip" "workspace" {
  count               = data.coder_workspace.me.start_count
  name                = "workspace"
  resource_group_name = azurerm_resource_group.workspace.name
  location            = azurerm_resource_group.workspace.location
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = local.tags
}

resource "azurerm_network_interface" "workspace" {
  count               = data.coder_workspace.me.start_count
  name                = "workspace"
  resource_group_name = azurerm_resource_group.workspace.name
  location            = azurerm_resource_group.workspace.location
  tags                = local.tags

  ip_configuration {
    name                          = "workspace"
    subnet_id                     = azurerm_subnet.workspace.id
    private_ip_address_allocation = "Dynamic"
    public_ip_address_id          = azurerm_public_ip.workspace[0].id
  }

  # Closed before it is open.
  depends_on = [azurerm_subnet_network_security_group_association.workspace]
}

# The home directory. It has no count, so it stays while the workspace is stopped and goes when the workspace is deleted. Azure
# encrypts every managed disk.
resource "azurerm_managed_disk" "home" {
  name                          = "home"
  resource_group_name           = azurerm_resource_group.workspace.name
  location                      = azurerm_resource_group.workspace.location
  storage_account_type          = "StandardSSD_LRS"
  create_option                 = "Empty"
  disk_size_gb                  = data.coder_parameter.home_size.value
  public_network_access_enabled = false
  network_access_policy         = "DenyAll"
  tags                          = local.tags
}

# Azure asks for a key to sign in with. Nobody uses this one: there is no port to sign in at.
resource "tls_private_key" "unused" {
  algorithm = "RSA"
  rsa_bits  = 4096
}

# The machine. It has no managed identity: what a developer runs there has no rights in the subscription.
resource "azurerm_linux_virtual_machine" "workspace" {
  count                 = data.coder_workspace.me.start_count
  name                  = "workspace"
  computer_name         = "workspace"
  resource_group_name   = azurerm_resource_group.workspace.name
  location              = azurerm_resource_group.workspace.location
  size                  = data.coder_parameter.size.value
  network_interface_ids = [azurerm_network_interface.workspace[0].id]
  secure_boot_enabled   = true
  vtpm_enabled          = true
  tags                  = local.tags

  admin_username                  = "unused"
  disable_password_authentication = true
  admin_ssh_key {
    username   = "unused"
    public_key = tls_private_key.unused.public_key_openssh
  }

  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "StandardSSD_LRS"
  }
  source_image_reference {
    publisher = "Canonical"
    offer     = "ubuntu-24_04-lts"
    sku       = "server"
    version   = "latest"
  }

  # Azure gives this to the machine and to nobody else, not even to who may read the machine's description.
  custom_data = base64encode(templatefile("${path.module}/start.sh.tftpl", {
    init_script = coder_agent.main[0].init_script
    token       = coder_agent.main[0].token
  }))
}

resource "azurerm_virtual_machine_data_disk_attachment" "home" {
  count              = data.coder_workspace.me.start_count
  managed_disk_id    = azurerm_managed_disk.home.id
  virtual_machine_id = azurerm_linux_virtual_machine.workspace[0].id
  lun                = 10
  caching            = "ReadWrite"
}

# Facts to show about the resources.
resource "coder_metadata" "workspace" {
  count       = data.coder_workspace.me.start_count
  resource_id = azurerm_linux_virtual_machine.workspace[0].id
  icon        = "/icon/azure.svg"

  item {
    key   = "machine"
    value = azurerm_linux_virtual_machine.workspace[0].size
  }
  item {
    key   = "region"
    value = var.location
  }
}

resource "coder_metadata" "home" {
  resource_id = azurerm_managed_disk.home.id
  icon        = "/icon/folder.svg"

  item {
    key   = "size"
    value = "${azurerm_managed_disk.home.disk_size_gb} GiB"
  }
}
