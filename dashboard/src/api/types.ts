/** The shapes of the API under the names that the server has for them, from its own document (docs/openapi.json, by `npm run schema`). */

import type { components } from "../../schema.ts";

type Schemas = components["schemas"];

export type Agent = Schemas["Agent"];
export type AgentLog = Schemas["AgentLog"];
export type ApiKey = Schemas["ApiKey"];
export type App = Schemas["App"];
export type Build = Schemas["Build"];
export type BuildInfo = Schemas["BuildInfo"];
export type CreateBuild = Schemas["CreateBuild"];
export type CreateDryRun = Schemas["CreateDryRun"];
export type CreatedToken = Schemas["CreatedToken"];
export type CreateFirstUser = Schemas["CreateFirstUser"];
export type CreateUser = Schemas["CreateUser"];
export type CreateWorkspace = Schemas["CreateWorkspace"];
export type ErrorBody = Schemas["ErrorBody"];
export type Job = Schemas["Job"];
export type JobLog = Schemas["JobLog"];
export type JobStatus = Schemas["JobStatus"];
export type LogLevel = Schemas["LogLevel"];
export type MetadataEvent = Schemas["MetadataEvent"];
export type Parameter = Schemas["RichParameter"];
export type ParameterValue = Schemas["ParameterValue"];
export type Preset = Schemas["Preset"];
export type Resource = Schemas["Resource"];
export type SshConfiguration = Schemas["SshConfig"];
export type Template = Schemas["Template"];
export type Timings = Schemas["Timings"];
export type Transition = Schemas["Transition"];
export type UpdateTemplate = Schemas["UpdateTemplate"];
export type User = Schemas["User"];
export type Users = Schemas["Users"];
export type Variable = Schemas["Variable"];
export type Version = Schemas["Version"];
export type Workspace = Schemas["Workspace"];
export type WorkspaceEvent = Schemas["WorkspaceEvent"];
export type WorkspaceStatus = Schemas["WorkspaceStatus"];
export type Workspaces = Schemas["Workspaces"];
