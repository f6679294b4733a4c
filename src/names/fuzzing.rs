//! The door for `fuzz/`: what is made of an answer's bytes, without a network.

use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::op::{Message, Query};
use hickory_resolver::proto::rr::{Name, RecordType};

use super::answer::Said;
use super::resolvers::end_of_chain;
use crate::config::HostName;

/// What an answer on the wire says of a name; none where it cannot be read.
pub fn said(name: &HostName, wire: &[u8]) -> Option<Said> {
    let mut question = Name::from_ascii(name.as_str()).ok()?;
    question.set_fqdn(true);
    let message = Message::from_vec(wire).ok()?;
    let query = Query::query(question.clone(), RecordType::A);
    Some(end_of_chain(&question, &Lookup::new_with_max_ttl(query, message.answers), false))
}
