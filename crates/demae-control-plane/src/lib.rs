//! Kaiten's domains, organizations and tokens: their rules and the events they cause.
