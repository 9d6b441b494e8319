//! Conveniences on the two heads, for values that are text. The accessors themselves come from `wit/types.wit`.
//!
//! Nothing here may copy a whole head, or change one.

use std::str::FromStr;

use crate::{RequestHead, ResponseHead};

macro_rules! text_getters {
    ($head:ident) => {
        impl $head {
            /// True when the field is there, with whatever value.
            ///
            /// `if head.has("authorization") { … }`
            pub fn has(&self, name: &str) -> bool {
                self.get(name).is_some()
            }

            /// The first value of the field as text; `None` when it is missing or not UTF-8.
            ///
            /// `let agent = head.get_str("user-agent").unwrap_or_default();`
            pub fn get_str(&self, name: &str) -> Option<String> {
                String::from_utf8(self.get(name)?).ok()
            }

            /// The first value of the field, parsed; `None` when it is missing or does not parse.
            ///
            /// `let left: Option<u32> = head.get_as("x-ratelimit-remaining");`
            pub fn get_as<T: FromStr>(&self, name: &str) -> Option<T> {
                std::str::from_utf8(&self.get(name)?).ok()?.trim_ascii().parse().ok()
            }
        }
    };
}

text_getters!(RequestHead);
text_getters!(ResponseHead);
