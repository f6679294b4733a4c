//! The Unix socket by which the command line reaches a running agent.
//!
//! Owns the protocol (one request and one answer a connection, JSON lines, bounded) and who may speak it (peer credentials).
//! Promises: a client that is slow, silent or hostile costs one bounded task and never the agent's loop.
