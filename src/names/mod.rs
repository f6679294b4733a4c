//! Hostnames: resolved, kept while they are good, never emptied on doubt.
//!
//! Owns the resolvers, the schedule by time to live, and what was answered. Promises: an answer is hostile until it has been
//! validated; a name that stops answering keeps its last good addresses; sets grow and settle instead of flapping.
