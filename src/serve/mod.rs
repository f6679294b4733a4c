//! What is served over HTTP: the lists that firewalls fetch, metrics, health, and a page to look at.
//!
//! Owns the listeners, TLS, authentication and the answers. Promises: lists are the bytes of one recorded generation; a fault
//! of our own is answered with 503 and never with an empty list, 401 or 403; nothing can be changed over HTTP; a fault of the
//! server never touches the agent's loop. Is handed values and reads no state itself.
