//! The messages and the service, as `build.rs` made them from `proto/ext_proc.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

tonic::include_proto!("envoy.service.ext_proc.v3");
