//! What a person or the agent may do to the state, each operation whole: publish, roll back, resume, pause, decide.
//!
//! Owns the order in which the lock, the memory, the belief and a generation are brought together, so that the agent and the
//! command line (without an agent) do the same. Promises: belief and generation are committed together.
