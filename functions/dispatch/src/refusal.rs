//! Why ECS did not start a task, in words for the developer who waits; what an operator can do about it goes to the log.
//!
//! ECS says it in two ways: an error with a code, and an answer of 200 with a list of failures.
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html#API_RunTask_Errors>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>

use crate::LaunchError;

/// The longest part of AWS's own words that a developer is shown, in bytes.
const WORDS_BYTES_MAX: usize = 300;

/// Codes of errors that pass by themselves.
const PASSING: &[&str] = &[
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ServerException",
    "ServiceUnavailableException",
    "InternalFailure",
    // Another request with the same token is under way.
    "ConflictException",
    // The credentials of the function ended between two requests.
    "ExpiredTokenException",
];

/// An error of the request, by its HTTP status, code and message.
pub(crate) fn of_error(status: u16, code: &str, message: &str) -> LaunchError {
    let lower = message.to_ascii_lowercase();
    if lower.contains("capacity is unavailable") {
        return no_room(message);
    }
    if lower.contains("limit on the number") || lower.contains("concurrently") {
        let hint = "ask AWS for a higher quota: Service Quotas, AWS Fargate, vCPU resource count";
        tracing::warn!(code, message, hint, "ECS started no runner");
        return LaunchError::Later("the AWS account's limit of Fargate tasks is reached".to_owned());
    }
    if status >= 500 || PASSING.contains(&code) {
        tracing::warn!(code, message, status, "ECS started no runner");
        return LaunchError::Later(format!("AWS cannot start a runner now ({})", name(code, status)));
    }
    let (reason, hint) = lasting(code, message, &lower);
    tracing::error!(code, message, hint, "ECS refused to start a runner");
    LaunchError::Never(reason)
}

/// What stays wrong until an operator changes something.
fn lasting(code: &str, message: &str, lower: &str) -> (String, &'static str) {
    match code {
        "AccessDeniedException" | "AccessDenied" => (
            format!("Berth may not start runners: its role lacks the permission {}", permission(message)),
            "the role of berth-dispatch comes from infra/: deploy the stack again, or look for a policy above it that denies",
        ),
        "ClusterNotFoundException" => {
            ("the cluster that runners start in does not exist".to_owned(), "correct BERTH_CLUSTER, or deploy the stack again")
        }
        _ if lower.contains("subnet") => (
            format!("the subnet that runners start in cannot be used: {}", words(message)),
            "correct the parameter SubnetIds, or deploy the stack again",
        ),
        _ if lower.contains("security group") => (
            format!("the security group that runners start in cannot be used: {}", words(message)),
            "deploy the stack again, or correct BERTH_SECURITY_GROUPS",
        ),
        _ if lower.contains("taskdefinition") || lower.contains("task definition") => (
            format!("the task definition of runners cannot be used: {}", words(message)),
            "deploy the stack again, or correct BERTH_TASK_DEFINITION",
        ),
        _ if lower.contains("capacity provider") => (
            format!("the capacity provider of runners cannot be used: {}", words(message)),
            "correct BERTH_CAPACITY_PROVIDER, or attach the provider to the cluster",
        ),
        "BlockedException" => ("the AWS account is blocked".to_owned(), "ask AWS support"),
        _ => (
            format!("AWS refused to start a runner: {} ({code})", words(message)),
            "the message is ECS's own; see CloudTrail for RunTask",
        ),
    }
}

/// A failure that an answer of 200 lists.
pub(crate) fn of_failure(reason: &str, detail: &str) -> LaunchError {
    if reason.to_ascii_lowercase().contains("capacity") {
        return no_room(reason);
    }
    let (kind, what) = reason.split_once(':').unwrap_or((reason, ""));
    let said = if detail.is_empty() { reason.to_owned() } else { format!("{reason}: {detail}") };
    match kind {
        "RESOURCE" => {
            tracing::warn!(reason, detail, "ECS started no runner");
            LaunchError::Later(format!("AWS has no {} left for a runner", resource(what)))
        }
        "AGENT" | "EMPTY" => {
            tracing::warn!(reason, detail, "ECS started no runner");
            LaunchError::Later("AWS has no machine that answers to start a runner on".to_owned())
        }
        _ => {
            let hint = "the reason is ECS's own; deploy the stack again, or look at the cluster's events";
            tracing::error!(reason, detail, hint, "ECS refused to start a runner");
            LaunchError::Never(format!("AWS refused to start a runner: {}", words(&said)))
        }
    }
}

fn no_room(message: &str) -> LaunchError {
    let hint = "more subnets in other availability zones, or FARGATE instead of FARGATE_SPOT, make this rarer";
    tracing::warn!(message, hint, "ECS started no runner");
    LaunchError::Later("AWS has no Fargate capacity for a runner now".to_owned())
}

fn resource(what: &str) -> String {
    match what {
        "ENI" => "network interface".to_owned(),
        "" => "room".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// The action that an access-denied message names: "... is not authorized to perform: ecs:RunTask on resource: ...".
fn permission(message: &str) -> &str {
    let action = message.split_once("perform: ").and_then(|(_, rest)| rest.split_whitespace().next());
    action.map_or("ecs:RunTask or iam:PassRole", |action| action.trim_end_matches(['.', ',', ';']))
}

fn name(code: &str, status: u16) -> String {
    if code.is_empty() { format!("status {status}") } else { code.to_owned() }
}

/// AWS's own words, on one line and not too many.
fn words(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(WORDS_BYTES_MAX));
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(error: LaunchError) -> String {
        match error {
            LaunchError::Later(reason) => reason,
            LaunchError::Never(reason) => panic!("never: {reason}"),
        }
    }

    fn never(error: LaunchError) -> String {
        match error {
            LaunchError::Never(reason) => reason,
            LaunchError::Later(reason) => panic!("later: {reason}"),
        }
    }

    #[test]
    fn want_of_room_and_throttling_pass() {
        let capacity = "Capacity is unavailable at this time. Please try again later or in a different availability zone";
        assert_eq!(later(of_error(400, "ClientException", capacity)), "AWS has no Fargate capacity for a runner now");
        assert_eq!(later(of_failure(capacity, "")), "AWS has no Fargate capacity for a runner now");
        let quota = "You've reached the limit on the number of vCPUs you can run concurrently";
        assert_eq!(later(of_error(400, "ThrottlingException", quota)), "the AWS account's limit of Fargate tasks is reached");
        assert_eq!(
            later(of_error(400, "ThrottlingException", "Rate exceeded.")),
            "AWS cannot start a runner now (ThrottlingException)"
        );
        assert_eq!(later(of_error(503, "", "")), "AWS cannot start a runner now (status 503)");
        assert_eq!(later(of_failure("RESOURCE:ENI", "")), "AWS has no network interface left for a runner");
        assert_eq!(later(of_failure("RESOURCE:MEMORY", "")), "AWS has no memory left for a runner");
        assert_eq!(later(of_failure("AGENT", "")), "AWS has no machine that answers to start a runner on");
    }

    #[test]
    fn what_an_operator_must_change_fails_the_job_and_says_what() {
        let denied =
            "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r";
        assert_eq!(
            never(of_error(400, "AccessDeniedException", denied)),
            "Berth may not start runners: its role lacks the permission iam:PassRole"
        );
        assert_eq!(
            never(of_error(400, "ClientException", "TaskDefinition not found.")),
            "the task definition of runners cannot be used: TaskDefinition not found"
        );
        let subnet = "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist (ErrorCode: \
                      InvalidSubnetID.NotFound)";
        assert!(never(of_error(400, "InvalidParameterException", subnet)).starts_with("the subnet that runners start in"));
        assert_eq!(
            never(of_error(400, "ClusterNotFoundException", "Cluster not found.")),
            "the cluster that runners start in does not exist"
        );
        assert_eq!(never(of_failure("MISSING", "no such thing")), "AWS refused to start a runner: MISSING: no such thing");
        let long = never(of_error(400, "ClientException", &"ä".repeat(1000)));
        assert!(long.len() < WORDS_BYTES_MAX + 100, "{}", long.len());
    }
}
