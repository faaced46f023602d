//! The real binary, judged from outside: each test has a home of its own.

mod bad_input;
mod content;
mod first_use;
mod history;
mod home;
mod keys;
mod output;
