//! Every limit of the product, with its unit in its name.

/// A build's lease ends this long after its last heartbeat.
pub const LEASE_SECONDS: i64 = 60;
/// A runner renews its lease this often.
pub const HEARTBEAT_SECONDS: u64 = 10;
/// A build still queued after this long is announced again by the sweep.
pub const ANNOUNCE_AGAIN_SECONDS: i64 = 30;
/// How long a session lives without use.
pub const SESSION_SECONDS: i64 = 7 * 24 * 3600;
/// The longest life an API token can be given.
pub const API_TOKEN_SECONDS_MAX: i64 = 365 * 24 * 3600;
/// A runner must redeem its one-time token within this time of the announcement.
pub const CLAIM_TOKEN_SECONDS: i64 = 900;
/// The largest template archive, compressed or not, in bytes.
pub const ARCHIVE_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The largest sum of file sizes inside a template archive, in bytes.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most entries a template archive may hold.
pub const ARCHIVE_ENTRIES_MAX: usize = 10_000;
/// The largest tar of the modules that a version's import keeps, in bytes; larger ones are downloaded by each build.
pub const MODULES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest JSON request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The largest Terraform state, in bytes.
pub const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest archive, and the largest state, that comes along with the answer to a claim, in bytes; larger ones are fetched.
pub const ENCLOSED_BYTES_MAX: u64 = 256 * 1024;
/// The longest address of a resource that a build adopts, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 1024;
/// The longest id of a resource that exists, in bytes; an ARN has at most 2048.
pub const RESOURCE_ID_BYTES_MAX: usize = 2048;
/// The most resources that one build adopts or one repair removes.
pub const ADOPTIONS_MAX: usize = 50;
/// The most strays that one repair reports.
pub const STRAYS_MAX: usize = 500;
/// The longest lineage of a Terraform state, in bytes; Terraform writes a UUID.
pub const LINEAGE_BYTES_MAX: usize = 128;
/// The longest single log line kept, in bytes; longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// The most lines one log request may carry.
pub const LOG_BATCH_LINES_MAX: usize = 1_000;
/// The most log bytes kept for one build or one agent.
pub const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password, in bytes: hashing must not be a way to burn CPU.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// How long a tailnet ticket may be presented after it was minted.
pub const TICKET_SECONDS: i64 = 60;
/// How long a browser is let into one app without a look at its cookie's age; it gets a new cookie past half of this while it is used.
pub const APP_SESSION_SECONDS: i64 = 60 * 60;
/// How long the ticket that brings a sign-in to an app's host is good for.
pub const APP_TICKET_SECONDS: i64 = 60;
/// How long a client may stay admitted at a relay.
pub const RELAY_CLIENT_SECONDS: i64 = 24 * 3600;
/// An agent that never connects is given up after this long, unless the template says otherwise.
pub const AGENT_CONNECT_SECONDS: i64 = 120;
/// The most rich parameter values of one build.
pub const PARAMETERS_MAX: usize = 128;
/// The longest value of a parameter, in bytes.
pub const PARAMETER_VALUE_BYTES_MAX: usize = 32 * 1024;
/// The most that a build's parameter values come to together, in bytes: a build is stored in one row.
pub const PARAMETERS_BYTES_MAX: usize = 96 * 1024;
/// An agent that said hello this recently is on its way to the relay and not yet called disconnected.
pub const AGENT_HELLO_SECONDS: i64 = 15;
/// A session that is used lives on, but never longer than this after its sign-in.
pub const SESSION_SECONDS_MAX: i64 = 30 * 24 * 3600;
/// The life of an API token when none is asked for.
pub const API_TOKEN_SECONDS: i64 = 30 * 24 * 3600;
/// A build that takes longer is ended, unless its template says otherwise.
pub const BUILD_TIMEOUT_SECONDS: u64 = 2 * 3600;
/// A build that says and does nothing for this long is ended, unless its template says otherwise.
pub const BUILD_SILENCE_SECONDS: u64 = 20 * 60;
/// The most timings kept of one build; the shortest are left out.
pub const TIMINGS_MAX: usize = 500;
/// So many people's builds start in a row at most while automatic ones wait.
pub const PEOPLE_IN_A_ROW_MAX: usize = 4;
/// The shortest time to live of a workspace, in milliseconds.
pub const TTL_MILLISECONDS_MIN: i64 = 60 * 1000;
/// The longest time to live of a workspace, in milliseconds: 30 days.
pub const TTL_MILLISECONDS_MAX: i64 = 30 * 24 * 3600 * 1000;
/// The shortest limit of a build's time that a template can set, in milliseconds.
pub const BUILD_TIMEOUT_MILLISECONDS_MIN: i64 = 60 * 1000;
/// The longest limit of a build's time that a template can set, in milliseconds: 24 hours.
pub const BUILD_TIMEOUT_MILLISECONDS_MAX: i64 = 24 * 3600 * 1000;
/// The longest message of a version or of a deprecation, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// A dry run, its log and its result are forgotten this long after it was asked for.
pub const DRY_RUN_SECONDS: i64 = 24 * 3600;

/// The most metadata blocks of one agent.
pub const METADATA_BLOCKS_MAX: usize = 100;
/// The most volumes whose use one agent watches.
pub const VOLUME_MONITORS_MAX: usize = 32;
/// The longest value of a metadata block; more is cut off.
pub const METADATA_VALUE_BYTES_MAX: usize = 2048;
