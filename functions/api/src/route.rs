//! The one table of routes: method, path, who may call it, and which handler answers.
//!
//! A route that is not here does not exist. `access` is enforced as far as the caller goes ([`crate::session::admit`]); what it
//! says about objects is the handler's to ask, and the authorization matrix test holds both to the table.

#[cfg(test)]
use crate::openapi::{Described, Operation};
use crate::{
    Shared, agent, app, binary, build, buildinfo, dry_run, file, git_key, guard, icon, init_script, instance, log, metadata, page,
    relay, repair, report, runner, session, state, template, terminal, token, upload, user, version, watch, workspace,
};
use axum::{
    Router,
    handler::Handler,
    middleware::{from_fn, from_fn_with_state},
    routing::{self, MethodRouter},
};
use http::Method;

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone.
    Public,
    /// Everyone; who is signed in is known.
    Visitor,
    /// Anyone signed in.
    SignedIn,
    /// Template admins and owners; 403 for others.
    Templates,
    /// User admins and owners; 403 for others.
    Users,
    /// The user named in the path, and user admins and owners; 404 for others.
    User,
    /// The user named in the path alone; 404 for others.
    Oneself,
    /// The user named in the path, and owners, who may make workspaces for anyone; 404 for others.
    Create,
    /// Who asked for the dry run, and template admins and owners; 404 for others.
    DryRun,
    /// A workspace's owner, and template admins, auditors and owners; 404 for others.
    Read,
    /// A workspace's owner, and owners of the deployment; 404 for others, 403 for those who may only read.
    Build,
    /// Template admins and owners of the deployment; 404 for those who may not read the workspace, 403 for those who may only read
    /// or build it.
    Push,
    /// A workspace's owner alone; 404 for others, 403 for those who may only read.
    Enter,
    /// A workspace agent with its token.
    Agent,
    /// A runner with its job's session.
    Runner,
    /// Those who send large bodies: a runner with its job's session, and template admins and owners; 403 for others.
    Upload,
}

#[cfg(test)]
impl Access {
    /// Whom it is for, in words for the document.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Public => "everyone",
            Self::Visitor => "everyone; who is signed in is known",
            Self::SignedIn => "anyone signed in",
            Self::Templates => "template admins and owners; 403 for others",
            Self::Users => "user admins and owners; 403 for others",
            Self::User => "the user named in the path, and user admins and owners; 404 for others",
            Self::Oneself => "the user named in the path alone; 404 for others",
            Self::Create => "the user named in the path, and owners, who may make workspaces for anyone; 404 for others",
            Self::DryRun => "who asked for the dry run, and template admins and owners; 404 for others",
            Self::Read => "a workspace's owner, and template admins, auditors and owners; 404 for others",
            Self::Build => "a workspace's owner, and owners of the deployment; 404 for others, 403 for those who may only read",
            Self::Push => {
                "template admins and owners of the deployment; 404 for those who may not read the workspace, 403 for others"
            }
            Self::Enter => "a workspace's owner alone; 404 for others, 403 for those who may only read",
            Self::Agent => "a workspace agent with its token",
            Self::Runner => "a runner with its job's session",
            Self::Upload => "a runner with its job's session, and template admins and owners; 403 for others",
        }
    }
}

/// One row of the table.
pub(crate) struct Route {
    /// Read by the authorization matrix; the handler knows it too.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<Shared>,
    /// What the document of the API says of it, from the handler's signature.
    #[cfg(test)]
    pub(crate) describe: fn(&mut Operation<'_>),
    #[cfg(test)]
    pub(crate) handler_name: &'static str,
}

/// Outside of the tests, where the document is made, a handler need not describe itself.
#[cfg(not(test))]
trait Described<T> {}

#[cfg(not(test))]
impl<H, T> Described<T> for H {}

macro_rules! methods {
    ($($method:ident = $constant:ident),+) => {$(
        fn $method<H: Handler<T, Shared> + Described<T>, T: 'static>(access: Access, path: &'static str, handler: H) -> Route {
            Route {
                method: Method::$constant,
                path,
                access,
                handler: routing::$method(handler),
                #[cfg(test)]
                describe: H::describe,
                #[cfg(test)]
                handler_name: std::any::type_name::<H>(),
            }
        }
    )+};
}
methods!(get = GET, post = POST, put = PUT, patch = PATCH, delete = DELETE);

/// All routes.
pub(crate) fn table() -> Vec<Route> {
    [deployment(), people(), templates(), workspaces(), apps(), machines()].into_iter().flatten().collect()
}

fn deployment() -> Vec<Route> {
    use Access::{Public, SignedIn};
    vec![
        get(Public, "/healthz", buildinfo::health),
        get(Public, "/bin/{name}", binary::serve),
        get(Public, "/icon/{name}", icon::icon),
        get(Public, "/emojis/{name}", icon::emoji),
        get(Public, "/cli-auth", page::form),
        post(Public, "/cli-auth", page::token),
        get(Public, "/login", page::form),
        get(Public, "/api/v2", buildinfo::root),
        get(Public, "/api/v2/buildinfo", buildinfo::build_info),
        get(Public, "/api/v2/openapi.json", buildinfo::openapi),
        get(Public, "/api/v2/relay/keys", relay::keys),
        get(Public, "/api/v2/init-script/{os}/{arch}", init_script::serve),
        get(SignedIn, "/api/v2/deployment/ssh", buildinfo::ssh),
        get(SignedIn, "/api/v2/appearance", buildinfo::appearance),
        get(SignedIn, "/api/v2/organizations", buildinfo::organizations),
        get(SignedIn, "/api/v2/organizations/{organization}", buildinfo::organization),
    ]
}

fn people() -> Vec<Route> {
    use Access::{Oneself, Public, SignedIn, User, Users};
    vec![
        get(Public, "/api/v2/users/first", user::has_first),
        post(Public, "/api/v2/users/first", user::create_first),
        get(Public, "/api/v2/users/authmethods", user::auth_methods),
        post(Public, "/api/v2/users/login", user::login),
        post(SignedIn, "/api/v2/users/logout", user::logout),
        get(Users, "/api/v2/users", user::list),
        post(Users, "/api/v2/users", user::create),
        get(User, "/api/v2/users/{user}", user::show),
        get(User, "/api/v2/users/{user}/organizations", user::organizations),
        put(Oneself, "/api/v2/users/{user}/password", user::change_password),
        get(Oneself, "/api/v2/users/{user}/gitsshkey", git_key::show),
        put(Oneself, "/api/v2/users/{user}/gitsshkey", git_key::renew),
        post(Oneself, "/api/v2/users/{user}/keys", token::create_session_key),
        get(User, "/api/v2/users/{user}/keys/tokens", token::list),
        post(Oneself, "/api/v2/users/{user}/keys/tokens", token::create),
        get(User, "/api/v2/users/{user}/keys/{key}", token::show),
        delete(User, "/api/v2/users/{user}/keys/{key}", token::end),
    ]
}

fn templates() -> Vec<Route> {
    use Access::{DryRun, SignedIn, Templates};
    vec![
        post(Templates, "/api/v2/files", file::upload),
        get(Templates, "/api/v2/files/{file}", file::download),
        post(Templates, "/api/v2/organizations/{organization}/templateversions", version::create),
        get(SignedIn, "/api/v2/templateversions/{version}", version::show),
        patch(Templates, "/api/v2/templateversions/{version}", version::update),
        post(Templates, "/api/v2/templateversions/{version}/archive", version::archive),
        post(Templates, "/api/v2/templateversions/{version}/unarchive", version::unarchive),
        patch(Templates, "/api/v2/templateversions/{version}/cancel", version::cancel),
        get(SignedIn, "/api/v2/templateversions/{version}/logs", log::of_version),
        get(SignedIn, "/api/v2/templateversions/{version}/rich-parameters", version::rich_parameters),
        get(SignedIn, "/api/v2/templateversions/{version}/resources", version::resources),
        get(Templates, "/api/v2/templateversions/{version}/variables", version::variables),
        get(SignedIn, "/api/v2/templateversions/{version}/presets", version::presets),
        get(SignedIn, "/api/v2/templateversions/{version}/external-auth", version::external_auth),
        post(SignedIn, "/api/v2/templateversions/{version}/dry-run", dry_run::create),
        get(DryRun, "/api/v2/templateversions/{version}/dry-run/{dry_run}", dry_run::show),
        get(DryRun, "/api/v2/templateversions/{version}/dry-run/{dry_run}/resources", dry_run::resources),
        get(DryRun, "/api/v2/templateversions/{version}/dry-run/{dry_run}/logs", log::of_dry_run),
        patch(DryRun, "/api/v2/templateversions/{version}/dry-run/{dry_run}/cancel", dry_run::cancel),
        get(SignedIn, "/api/v2/organizations/{organization}/templates", template::list_of),
        post(Templates, "/api/v2/organizations/{organization}/templates", template::create),
        get(SignedIn, "/api/v2/organizations/{organization}/templates/{name}", template::by_name),
        get(SignedIn, "/api/v2/templates", template::list),
        get(SignedIn, "/api/v2/templates/{template}", template::show),
        patch(Templates, "/api/v2/templates/{template}", template::update),
        delete(Templates, "/api/v2/templates/{template}", template::remove),
        get(SignedIn, "/api/v2/templates/{template}/versions", version::list),
        patch(Templates, "/api/v2/templates/{template}/versions", template::activate),
        post(Templates, "/api/v2/templates/{template}/versions/archive", version::archive_unused),
        get(SignedIn, "/api/v2/templates/{template}/versions/{name}", version::by_name),
    ]
}

fn workspaces() -> Vec<Route> {
    use Access::{Build, Create, Enter, Push, Read, SignedIn};
    vec![
        get(SignedIn, "/api/v2/workspaces", workspace::list),
        post(Create, "/api/v2/users/{user}/workspaces", workspace::create),
        post(Create, "/api/v2/organizations/{organization}/members/{user}/workspaces", workspace::create_in),
        get(Read, "/api/v2/users/{user}/workspace/{name}", workspace::by_name),
        get(Read, "/api/v2/users/{user}/workspace/{name}/builds/{number}", build::by_number),
        get(Read, "/api/v2/workspaces/{workspace}", workspace::show),
        put(Build, "/api/v2/workspaces/{workspace}/autostart", workspace::set_autostart),
        patch(Build, "/api/v2/workspaces/{workspace}", workspace::rename),
        put(Build, "/api/v2/workspaces/{workspace}/ttl", workspace::set_ttl),
        put(Build, "/api/v2/workspaces/{workspace}/extend", workspace::extend),
        put(Build, "/api/v2/workspaces/{workspace}/autoupdates", workspace::set_automatic_updates),
        post(Enter, "/api/v2/workspaces/{workspace}/usage", workspace::used),
        get(Read, "/api/v2/workspaces/{workspace}/watch", watch::events),
        get(Read, "/api/v2/workspaces/{workspace}/watch-ws", watch::socket),
        get(Read, "/api/v2/workspaces/{workspace}/builds", build::list),
        post(Build, "/api/v2/workspaces/{workspace}/builds", build::create),
        get(Read, "/api/v2/workspacebuilds/{build}", build::show),
        patch(Build, "/api/v2/workspacebuilds/{build}/cancel", build::cancel),
        get(Read, "/api/v2/workspacebuilds/{build}/logs", log::of_build),
        get(Read, "/api/v2/workspacebuilds/{build}/parameters", build::parameters),
        get(Read, "/api/v2/workspacebuilds/{build}/resources", build::resources),
        get(Read, "/api/v2/workspacebuilds/{build}/timings", build::timings),
        get(Build, "/api/v2/workspacebuilds/{build}/state", state::of_build),
        put(Push, "/api/v2/workspacebuilds/{build}/state", state::push_to_build),
        get(Build, "/api/v2/workspaces/{workspace}/states", state::list),
        post(Push, "/api/v2/workspaces/{workspace}/states", state::push),
        get(Build, "/api/v2/workspaces/{workspace}/states/{number}", state::show),
        post(Build, "/api/v2/workspaces/{workspace}/states/{number}/restore", state::restore),
        post(Build, "/api/v2/workspaces/{workspace}/repairs", repair::create),
        get(Build, "/api/v2/repairs/{repair}", repair::show),
        get(Build, "/api/v2/repairs/{repair}/logs", log::of_repair),
        patch(Build, "/api/v2/repairs/{repair}/cancel", repair::cancel),
        get(Read, "/api/v2/workspaceagents/{agent}", agent::show),
        get(Read, "/api/v2/workspaceagents/{agent}/logs", log::of_agent),
        get(Read, "/api/v2/workspaceagents/{agent}/watch-metadata", metadata::events),
        get(Read, "/api/v2/workspaceagents/{agent}/watch-metadata-ws", metadata::socket),
        get(Enter, "/api/v2/workspaceagents/{agent}/pty", terminal::socket),
        post(Enter, "/api/v2/workspaceagents/{agent}/ticket", agent::ticket),
    ]
}

fn apps() -> Vec<Route> {
    use Access::{Public, SignedIn, Visitor};
    vec![
        get(SignedIn, "/api/v2/applications/host", app::host),
        get(Visitor, "/api/v2/applications/auth-redirect", app::auth_redirect),
        // What proves the viewer is in the body, and the relay's own end is known.
        post(Public, "/api/v2/applications/admission", app::admit),
        post(Public, "/api/v2/applications/start", app::start),
    ]
}

fn machines() -> Vec<Route> {
    use Access::{Agent, Public, Runner, Upload};
    vec![
        post(Upload, "/api/v2/uploads", upload::create),
        post(Agent, "/api/v2/workspaceagents/me/manifest", agent::manifest),
        patch(Agent, "/api/v2/workspaceagents/me/lifecycle", agent::lifecycle),
        patch(Agent, "/api/v2/workspaceagents/me/logs", agent::logs),
        post(Agent, "/api/v2/workspaceagents/me/sessions", agent::sessions),
        post(Agent, "/api/v2/workspaceagents/me/metadata", metadata::report),
        post(Agent, "/api/v2/workspaceagents/me/script-completed", report::script_completed),
        post(Agent, "/api/v2/workspaceagents/me/app-health", report::app_health),
        get(Agent, "/api/v2/workspaceagents/me/gitsshkey", git_key::of_owner),
        get(Agent, "/api/v2/workspaceagents/me/external-auth", git_key::external_auth),
        post(Public, "/api/v2/workspaceagents/aws-instance-identity", instance::introduce), // The signature is in the body.
        post(Public, "/api/v2/runner/jobs/{job}/claim", runner::claim),                     // The one-time token is in the body.
        post(Runner, "/api/v2/runner/jobs/{job}/heartbeat", runner::heartbeat),
        post(Runner, "/api/v2/runner/jobs/{job}/logs", runner::logs),
        get(Runner, "/api/v2/runner/jobs/{job}/archive", runner::archive),
        put(Runner, "/api/v2/runner/jobs/{job}/modules", runner::put_modules),
        get(Runner, "/api/v2/runner/jobs/{job}/modules", runner::modules),
        get(Runner, "/api/v2/runner/jobs/{job}/state", runner::newest_state),
        put(Runner, "/api/v2/runner/jobs/{job}/state", runner::push_state),
        post(Runner, "/api/v2/runner/jobs/{job}/finish", runner::finish),
    ]
}

/// The router of the table.
pub(crate) fn router(api: Shared) -> Router {
    let mut router = Router::new();
    for route in table() {
        let admit = from_fn_with_state((Shared::clone(&api), route.access), session::admit);
        router = router.route(route.path, route.handler.route_layer(admit));
    }
    router
        .fallback(guard::unknown_route)
        .method_not_allowed_fallback(guard::wrong_method)
        .layer(from_fn_with_state(Shared::clone(&api), upload::elsewhere))
        .layer(from_fn(guard::guard))
        .with_state(api)
}
