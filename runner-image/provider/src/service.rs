//! The gRPC service: decodes each call, asks the engine, encodes its answer.

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::diagnostic::{Diagnostic, Severity, Step};
use crate::encode;
use crate::engine::{Answer, Session, data, resource};
use crate::proto::controller::grpc_controller_server::GrpcController;
use crate::proto::provider as wire;
use crate::proto::provider::provider_server::Provider;
use crate::upgrade::upgrade;
use crate::value::{DecodeError, Value};

/// The provider as gRPC serves it. What belongs to one connection is in the request's [`Session`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service;

/// The controller as gRPC serves it. Terraform's shutdown ends a plugin, and is answered and ignored by the runner's server.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    drain: Option<CancellationToken>,
}

impl Controller {
    /// Shuts nothing down: the owner of the server does.
    pub(crate) fn deaf() -> Self {
        Self { drain: None }
    }

    /// Cancels `drain` when Terraform is done with the provider.
    pub(crate) fn ending(drain: CancellationToken) -> Self {
        Self { drain: Some(drain) }
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<crate::proto::controller::Nothing>) -> Reply<crate::proto::controller::Nothing> {
        if let Some(drain) = &self.drain {
            drain.cancel();
        }
        Ok(Response::new(crate::proto::controller::Nothing {}))
    }
}

#[tonic::async_trait]
impl Provider for Service {
    async fn get_provider_schema(&self, _: Request<wire::Nothing>) -> Reply<wire::ProviderSchema> {
        Ok(Response::new(encode::schema()))
    }

    async fn validate_provider_config(&self, request: Request<wire::ProviderConfig>) -> Reply<wire::ValidatedProviderConfig> {
        let config = decode(request.into_inner().config)?;
        let diagnostics = config.as_object().map(|config| crate::validate::validate(&crate::schema::PROVIDER, config));
        Ok(Response::new(wire::ValidatedProviderConfig { diagnostics: all_to_wire(diagnostics.unwrap_or_default()) }))
    }

    async fn validate_resource_config(&self, request: Request<wire::NamedConfig>) -> Reply<wire::Verdict> {
        let request = request.into_inner();
        let config = decode(request.config)?;
        Ok(verdict(resource(&request.type_name).map_or_else(|unknown| vec![unknown], |noun| Session::check(noun, &config))))
    }

    async fn validate_data_resource_config(&self, request: Request<wire::NamedConfig>) -> Reply<wire::Verdict> {
        let request = request.into_inner();
        let config = decode(request.config)?;
        Ok(verdict(data(&request.type_name).map_or_else(|unknown| vec![unknown], |noun| Session::check(noun, &config))))
    }

    async fn upgrade_resource_state(&self, request: Request<wire::StoredState>) -> Reply<wire::UpgradedState> {
        let request = request.into_inner();
        let raw = request.raw_state.unwrap_or_default();
        let stored = serde_json::from_slice::<serde_json::Value>(&raw.json);
        let upgraded = match (resource(&request.type_name), stored) {
            (Ok(_), Ok(serde_json::Value::Null)) => Ok(Value::Null),
            (Ok(noun), Ok(stored)) => Ok(Value::Map(upgrade(&noun.block, &stored))),
            (Err(unknown), _) => Err(unknown),
            (_, Err(why)) => Err(Diagnostic::error(
                "unreadable state",
                format!("the stored state of a {} is not json (written before Terraform 0.12?): {why}", request.type_name),
            )),
        };
        Ok(Response::new(match upgraded {
            Ok(state) => wire::UpgradedState { upgraded_state: Some(encode(&state)), diagnostics: Vec::new() },
            Err(diagnostic) => wire::UpgradedState { upgraded_state: None, diagnostics: vec![to_wire(diagnostic)] },
        }))
    }

    async fn configure_provider(&self, request: Request<wire::Configure>) -> Reply<wire::Verdict> {
        let session = session(&request)?;
        let config = decode(request.into_inner().config)?;
        Ok(verdict(session.configure(&config)))
    }

    async fn read_resource(&self, request: Request<wire::ReadRequest>) -> Reply<wire::ReadAnswer> {
        let session = session(&request)?;
        let request = request.into_inner();
        let state = decode(request.current_state)?;
        let answer = match resource(&request.type_name) {
            Ok(noun) => session.read(noun, state).await,
            Err(unknown) => Answer { state, diagnostics: vec![unknown] },
        };
        Ok(Response::new(wire::ReadAnswer {
            new_state: Some(encode(&answer.state)),
            diagnostics: all_to_wire(answer.diagnostics),
            private: request.private,
        }))
    }

    async fn plan_resource_change(&self, request: Request<wire::PlanRequest>) -> Reply<wire::PlanAnswer> {
        let request = request.into_inner();
        let (prior, config) = (decode(request.prior_state)?, decode(request.config)?);
        let planned = match resource(&request.type_name) {
            Ok(noun) => Session::plan(noun, &prior, &config),
            Err(unknown) => crate::engine::Planned { diagnostics: vec![unknown], ..Default::default() },
        };
        Ok(Response::new(wire::PlanAnswer {
            planned_state: Some(encode(&planned.state)),
            requires_replace: planned.requires_replace.into_iter().map(|name| path(&[Step::Attribute(name)])).collect(),
            planned_private: request.prior_private,
            diagnostics: all_to_wire(planned.diagnostics),
            legacy_type_system: true,
        }))
    }

    async fn apply_resource_change(&self, request: Request<wire::ApplyRequest>) -> Reply<wire::ApplyAnswer> {
        let session = session(&request)?;
        let request = request.into_inner();
        let (prior, planned) = (decode(request.prior_state)?, decode(request.planned_state)?);
        let answer = match resource(&request.type_name) {
            Ok(noun) => session.apply(noun, prior, planned).await,
            Err(unknown) => Answer { state: prior, diagnostics: vec![unknown] },
        };
        Ok(Response::new(wire::ApplyAnswer {
            new_state: Some(encode(&answer.state)),
            private: request.planned_private,
            diagnostics: all_to_wire(answer.diagnostics),
            legacy_type_system: true,
        }))
    }

    async fn import_resource_state(&self, request: Request<wire::ImportRequest>) -> Reply<wire::ImportAnswer> {
        let session = session(&request)?;
        let wire::ImportRequest { type_name, id } = request.into_inner();
        let answer = match resource(&type_name) {
            Ok(noun) => session.import(noun, id).await,
            Err(unknown) => Answer { state: Value::Null, diagnostics: vec![unknown] },
        };
        let imported = wire::Imported { type_name, state: Some(encode(&answer.state)), private: Vec::new() };
        let imported_resources = answer.state.is_known().then_some(imported).into_iter().collect();
        Ok(Response::new(wire::ImportAnswer { imported_resources, diagnostics: all_to_wire(answer.diagnostics) }))
    }

    async fn read_data_source(&self, request: Request<wire::NamedConfig>) -> Reply<wire::DataAnswer> {
        let session = session(&request)?;
        let request = request.into_inner();
        let config = decode(request.config)?;
        let answer = match data(&request.type_name) {
            Ok(noun) => session.read_data(noun, &config),
            Err(unknown) => Answer { state: Value::Null, diagnostics: vec![unknown] },
        };
        Ok(Response::new(wire::DataAnswer { state: Some(encode(&answer.state)), diagnostics: all_to_wire(answer.diagnostics) }))
    }

    async fn stop_provider(&self, request: Request<wire::Nothing>) -> Reply<wire::Stopped> {
        session(&request)?.stop();
        Ok(Response::new(wire::Stopped::default()))
    }
}

fn session<T>(request: &Request<T>) -> Result<Session, Status> {
    request.extensions().get::<Session>().cloned().ok_or_else(|| Status::internal("the call came without its connection"))
}

fn decode(value: Option<wire::DynamicValue>) -> Result<Value, Status> {
    let Some(value) = value else { return Ok(Value::Null) };
    let decoded = match (value.msgpack.is_empty(), value.json.is_empty()) {
        (false, _) => Value::from_msgpack(&value.msgpack),
        (true, false) => Value::from_json(&value.json),
        (true, true) => Ok(Value::Null),
    };
    decoded.map_err(|why: DecodeError| Status::invalid_argument(why.to_string()))
}

fn encode(value: &Value) -> wire::DynamicValue {
    wire::DynamicValue { msgpack: value.to_msgpack(), json: Vec::new() }
}

fn verdict(diagnostics: Vec<Diagnostic>) -> Response<wire::Verdict> {
    Response::new(wire::Verdict { diagnostics: all_to_wire(diagnostics) })
}

fn all_to_wire(diagnostics: Vec<Diagnostic>) -> Vec<wire::Diagnostic> {
    diagnostics.into_iter().map(to_wire).collect()
}

fn to_wire(diagnostic: Diagnostic) -> wire::Diagnostic {
    let severity = match diagnostic.severity {
        Severity::Error => wire::Severity::Error,
        Severity::Warning => wire::Severity::Warning,
    };
    wire::Diagnostic {
        severity: severity.into(),
        summary: diagnostic.summary,
        detail: diagnostic.detail,
        attribute: (!diagnostic.path.is_empty()).then(|| path(&diagnostic.path)),
    }
}

fn path(steps: &[Step]) -> wire::AttributePath {
    use wire::path_step::Selector;
    let selector = |step: &Step| match step {
        Step::Attribute(name) => Selector::AttributeName((*name).into()),
        Step::Index(index) => Selector::ElementKeyInt(i64::try_from(*index).unwrap_or(i64::MAX)),
    };
    wire::AttributePath { steps: steps.iter().map(|step| wire::PathStep { selector: Some(selector(step)) }).collect() }
}
