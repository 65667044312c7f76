"""What AWS asks in us-east-1, in dollars, before any free tier unless it is said. One table: change a price here and nowhere else.

"page": read on AWS's own pricing page in the month named. "known": a price of long standing, not read again; check it before you rely on
the cent. AWS changes them without notice.
"""

PRICES = {
    # name: (dollars, per, source)
    "fargate arm vcpu": (0.03238, "vCPU-hour", "page, 2026-11: aws.amazon.com/fargate/pricing"),
    "fargate arm memory": (0.00356, "GB-hour", "page, 2026-11: aws.amazon.com/fargate/pricing"),
    "public ipv4": (0.005, "hour", "page, 2026-11: aws.amazon.com/vpc/pricing"),
    "dynamodb read": (0.125, "million read units", "page, 2026-11: aws.amazon.com/dynamodb/pricing/on-demand"),
    "dynamodb write": (0.625, "million write units", "page, 2026-11: aws.amazon.com/dynamodb/pricing/on-demand"),
    "dynamodb storage": (0.25, "GB-month", "known"),
    "dynamodb pitr": (0.20, "GB-month", "known"),
    "lambda arm": (0.0000133334, "GB-second", "known: aws.amazon.com/lambda/pricing"),
    "lambda request": (0.20, "million", "known: aws.amazon.com/lambda/pricing"),
    "sqs": (0.40, "million requests", "known: aws.amazon.com/sqs/pricing"),
    "cloudfront request": (1.00, "million https requests", "known; the first 10 million a month are free and not counted here"),
    "cloudfront function": (0.10, "million", "known; the first 2 million a month are free and not counted here"),
    "egress": (0.09, "GB", "known; the first 100 GB a month are free and counted here"),
    "s3 storage": (0.023, "GB-month", "known: aws.amazon.com/s3/pricing"),
    "s3 put": (5.00, "million", "known"),
    "s3 get": (0.40, "million", "known"),
    "ecr storage": (0.10, "GB-month", "known"),
    "logs": (0.50, "GB", "known: aws.amazon.com/cloudwatch/pricing"),
    "alarm": (0.10, "metric-month", "known; the first ten are free and not counted here"),
    "kms key": (1.00, "month", "known: aws.amazon.com/kms/pricing"),
    "kms request": (3.00, "million", "known; the first 20,000 a month are free and not counted here"),
    "hosted zone": (0.50, "month", "known: aws.amazon.com/route53/pricing"),
}

HOURS = 730
MINUTES = HOURS * 60
FREE_EGRESS_GB = 100

# How a resource is billed. What is not listed fails the test: a new kind of resource has to be looked up.
BY_THE_HOUR = {"AWS::ECS::Service"}
BY_THE_MONTH = {"AWS::KMS::Key", "AWS::CloudWatch::Alarm"}
BY_USE = {
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::Lambda::Function",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::Function",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Topic",
}
FREE = {
    "AWS::Budgets::Budget",  # the first two
    "AWS::CertificateManager::Certificate",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",  # of type Gateway; the test looks
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::Cluster",
    "AWS::ECS::TaskDefinition",
    "AWS::Events::Rule",  # schedules, and events of AWS's own
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::Lambda::EventSourceMapping",  # its polling is SQS requests
    "AWS::Lambda::Permission",
    "AWS::Lambda::Url",
    "AWS::Route53::RecordSetGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}


def cost(name, amount):
    """Dollars for an amount in the unit of the price."""
    return PRICES[name][0] * amount


def task(cpu, memory, hours):
    """A Fargate ARM task of so many CPU units and MiB, with its public address."""
    hourly = cost("fargate arm vcpu", cpu / 1024) + cost("fargate arm memory", memory / 1024) + cost("public ipv4", 1)
    return hourly * hours
