//! Tells people: webhook, mail, command, syslog.
//!
//! Owns the channels and what was already said. Promises: an event is told once and again only when its escalation is due; a
//! receiver that is slow or gone never holds up the agent; no secret is in a message.
