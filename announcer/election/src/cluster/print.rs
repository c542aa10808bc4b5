//! States of a model, told from each other by all that is in them.

use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A state and the print of it.
#[derive(Clone, Debug)]
pub(super) struct Printed<T> {
    pub(super) it: Box<T>,
    print: u64,
}

impl<T: Debug> Printed<T> {
    pub(super) fn of(it: T) -> Self {
        let mut printer = Printer(DefaultHasher::new());
        write!(printer, "{it:?}").unwrap();
        Self {
            print: printer.0.finish(),
            it: Box::new(it),
        }
    }
}

impl<T> PartialEq for Printed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl<T> Hash for Printed<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

struct Printer(DefaultHasher);

impl Write for Printer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
