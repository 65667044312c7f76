# The providers that the runner's image brings along: a build that uses one of these versions downloads nothing. Each `.tf` file here
# counts; add one beside this, or change the versions, and build the image again (see ../README.md). Terraform takes the newest version
# that a constraint allows at the time; name exact versions to have the same image every time.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}
