//! The task that owns the director.
