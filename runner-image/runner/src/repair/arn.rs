//! From an ARN to what Terraform calls the same resource, for the types that workspaces are commonly made of.
//!
//! Forms of ARNs: the "Resource types defined by" tables of the Service Authorization Reference. What `import` wants: the resources'
//! own pages in the AWS provider's documentation.

/// How an id follows from the last part of an ARN.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// The part itself.
    Last,
    /// The part after the last `/`: paths are not part of a name.
    Name,
    /// The whole ARN.
    Arn,
}

/// Service, what the resource part begins with, Terraform's type, and the form of its id.
const TYPES: &[(&str, &str, &str, Form)] = &[
    ("ec2", "instance/", "aws_instance", Form::Last),
    ("ec2", "volume/", "aws_ebs_volume", Form::Last),
    ("ec2", "snapshot/", "aws_ebs_snapshot", Form::Last),
    ("ec2", "network-interface/", "aws_network_interface", Form::Last),
    ("ec2", "security-group/", "aws_security_group", Form::Last),
    ("ec2", "elastic-ip/", "aws_eip", Form::Last),
    ("ec2", "vpc/", "aws_vpc", Form::Last),
    ("ec2", "subnet/", "aws_subnet", Form::Last),
    ("ec2", "route-table/", "aws_route_table", Form::Last),
    ("ec2", "internet-gateway/", "aws_internet_gateway", Form::Last),
    ("ec2", "natgateway/", "aws_nat_gateway", Form::Last),
    ("ec2", "launch-template/", "aws_launch_template", Form::Last),
    ("ec2", "dedicated-host/", "aws_ec2_host", Form::Last),
    ("ecs", "service/", "aws_ecs_service", Form::Last),
    ("ecs", "cluster/", "aws_ecs_cluster", Form::Last),
    ("ecs", "task-definition/", "aws_ecs_task_definition", Form::Arn),
    ("elasticfilesystem", "file-system/", "aws_efs_file_system", Form::Last),
    ("elasticfilesystem", "access-point/", "aws_efs_access_point", Form::Last),
    ("iam", "role/", "aws_iam_role", Form::Name),
    ("iam", "instance-profile/", "aws_iam_instance_profile", Form::Name),
    ("iam", "policy/", "aws_iam_policy", Form::Arn),
    ("logs", "log-group:", "aws_cloudwatch_log_group", Form::Last),
    ("secretsmanager", "secret:", "aws_secretsmanager_secret", Form::Arn),
    ("s3", "", "aws_s3_bucket", Form::Last),
];

/// Terraform's type and id of the resource; `None` when the type is not one of the table.
pub(super) fn resource(arn: &str) -> Option<(&'static str, String)> {
    // arn:partition:service:region:account:resource
    let mut parts = arn.splitn(6, ':');
    let (prefix, _, service, _, _, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if prefix != "arn" {
        return None;
    }
    let row = TYPES.iter().find(|row| row.0 == service && resource.starts_with(row.1))?;
    let (_, begins, kind, form) = *row;
    let last = resource.strip_prefix(begins)?.trim_end_matches(":*");
    let id = match form {
        Form::Last => last,
        Form::Name => last.rsplit('/').next()?,
        Form::Arn => arn,
    };
    (!id.is_empty()).then(|| (kind, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_becomes_what_terraform_imports() {
        let task = "arn:aws:ecs:eu-west-1:123456789012:task-definition/dev:7";
        for (arn, kind, id) in [
            ("arn:aws:ec2:us-east-1:123456789012:instance/i-1", "aws_instance", "i-1"),
            ("arn:aws-cn:ec2:cn-north-1:123456789012:volume/vol-1", "aws_ebs_volume", "vol-1"),
            ("arn:aws:ec2:us-east-1:123456789012:elastic-ip/eipalloc-1", "aws_eip", "eipalloc-1"),
            ("arn:aws:ecs:eu-west-1:123456789012:service/main/dev", "aws_ecs_service", "main/dev"),
            (task, "aws_ecs_task_definition", task),
            ("arn:aws:iam::123456789012:role/berth/dev", "aws_iam_role", "dev"),
            ("arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-1", "aws_efs_file_system", "fs-1"),
            ("arn:aws:logs:eu-west-1:123456789012:log-group:/berth/dev:*", "aws_cloudwatch_log_group", "/berth/dev"),
            ("arn:aws:s3:::bucket", "aws_s3_bucket", "bucket"),
        ] {
            assert_eq!(resource(arn), Some((kind, id.to_owned())), "{arn}");
        }
        for arn in ["", "i-1", "arn:aws:ec2", "arn:aws:ec2:us-east-1:1:instance/", "arn:aws:sqs:eu-west-1:123456789012:queue"] {
            assert_eq!(resource(arn), None, "{arn}");
        }
    }
}
