//! The macros by which a key of the config is written once: its name, type, default, range and words. The struct, its
//! defaults, the decoder, the JSON of `/config`, `odin schema`, `configs/full.toml` and `docs/config.md` follow.
//!
//! A new key is one entry of a `section!` in `schema/`, and the place where it is used.

use serde_json::Value as Json;

use super::check::References;
use super::decoder::Table;
use super::shapes::{Described, Shape};

/// A table of the config.
pub(super) trait Keyed: Sized {
    /// What it is for.
    const ABOUT: &'static str;

    /// Its keys, in the order of the docs.
    fn keys() -> Vec<KeyDoc>;

    /// Takes its keys out of a table. A key whose value is wrong is reported, and has its default; none if a key that
    /// must be there is not, or is wrong.
    fn take(table: &mut Table<'_>, references: &mut References) -> Option<Self>;
}

/// What the docs say of a key.
pub(super) struct KeyDoc {
    pub(super) name: String,
    pub(super) words: &'static str,
    pub(super) required: bool,
    /// What must come before a reload's change of it takes effect, if that is not at once: "start or upgrade".
    pub(super) next: Option<&'static str>,
    /// Null if there is none, or if it is not a single value.
    pub(super) default: Json,
    /// Its value in `configs/full.toml` if that is not the default. With `#` in front the key is a comment there.
    pub(super) example: Option<&'static str>,
    pub(super) value: Described,
}

impl KeyDoc {
    pub(super) fn new<T: 'static>(
        field: &str,
        words: &'static str,
        shape: Shape<T>,
        absent: Absent<T>,
        example: Option<&'static str>,
    ) -> KeyDoc {
        let value = shape.describe();
        let (default, required) = match absent {
            Absent::Means(default) if value.inner.is_none() => (shape.show(&default), false),
            Absent::Means(_) => (Json::Null, false),
            Absent::Fails(_) => (Json::Null, true),
        };
        KeyDoc { name: name(field), words: words.trim_start(), required, next: None, default, example, value }
    }
}

/// What it means that a key is not there.
pub(super) enum Absent<T> {
    Means(T),
    /// An error; the text goes on after "add it, ".
    Fails(&'static str),
}

/// The key of a field.
pub(super) fn name(field: &str) -> String {
    field.trim_start_matches("r#").replace('_', "-")
}

/// A table of the config. Of each key: its words, `name: Type`, the default (or why it must be there), its shape (see
/// `shapes.rs`), and an example if `configs/full.toml` is not to show the default. `#[next "start"]` in front: a reload warns
/// that a change takes effect at the next start.
///
/// ```text
/// section! {
///     /// How long things may take.
///     pub(crate) struct Timeouts {
///         /// To connect to an endpoint.
///         connect: Duration = secs(3), duration(Duration::ZERO);
///         /// The file.
///         path: PathBuf [required "for example \"lb.wasm\""], file(), "\"lb.wasm\"";
///     }
/// }
/// ```
///
/// It has `Default` if no key is required, and `new` with the key that is if that is one.
macro_rules! section {
    ($(#[doc = $about:literal])+ $(#[derive($derive:ident)])? pub(crate) struct $section:ident { $(
        $(#[doc = $words:literal])+
        $(#[next $next:literal])?
        $field:ident: $type:ty $([required $hint:literal])? $(= $default:expr)?, $shape:expr $(, $example:literal)?;
    )+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $(, $derive)?)]
        pub(crate) struct $section { $( $(#[doc = $words])+ pub(crate) $field: $type, )+ }

        $crate::config::section::section! {
            @new $section $( [$(= $default)? $(required $hint)?] $field: $type, )+
        }

        impl $crate::config::section::Keyed for $section {
            const ABOUT: &'static str = concat!($($about),+).trim_ascii_start();

            fn keys() -> Vec<$crate::config::section::KeyDoc> {
                use $crate::config::section::{Absent, KeyDoc};
                vec![$({
                    let [absent] = [$(Absent::Means($default))? $(Absent::Fails($hint))?];
                    let [example, ..] = [$(Some($example),)? None];
                    let words = concat!($($words),+ $(, " A change takes effect at the next ", $next, ".")?);
                    let [next, ..] = [$(Some($next),)? None];
                    KeyDoc { next, ..KeyDoc::new::<$type>(stringify!($field), words, $shape, absent, example) }
                }),+]
            }

            fn take(
                table: &mut $crate::config::decoder::Table<'_>,
                references: &mut $crate::config::check::References,
            ) -> Option<Self> {
                use $crate::config::section::Absent;
                $(
                    let [absent] = [$(Absent::Means($default))? $(Absent::Fails($hint))?];
                    let $field: Option<$type> = table.key(stringify!($field), &$shape, absent, references);
                )+
                Some($section { $( $field: $field? ),+ })
            }
        }

        impl serde::Serialize for $section {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let shown = [$( ($crate::config::section::name(stringify!($field)), $shape.show(&self.$field)) ),+];
                serializer.collect_map(shown.into_iter().filter(|(_, value)| !value.is_null()))
            }
        }
    };
    (@new $section:ident $([= $default:expr] $field:ident: $type:ty,)+) => {
        impl Default for $section {
            fn default() -> Self {
                $section { $( $field: $default ),+ }
            }
        }
    };
    (@new $section:ident
        $([= $before:expr] $first:ident: $first_type:ty,)*
        [required $hint:literal] $required:ident: $required_type:ty,
        $([= $after:expr] $last:ident: $last_type:ty,)*
    ) => {
        impl $section {
            /// Every other key has its default.
            #[allow(dead_code, reason = "some sections are only read")]
            pub(crate) fn new($required: $required_type) -> Self {
                $section { $( $first: $before, )* $required, $( $last: $after ),* }
            }
        }
    };
    (@new $section:ident $($more:tt)*) => {};
}

/// A key that is one of a few words, the first of which is the default.
macro_rules! choice {
    ($(#[doc = $about:literal])+ pub(crate) enum $choice:ident { $(
        $(#[doc = $words:literal])+
        $variant:ident = $word:literal,
    )+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $choice { $( $(#[doc = $words])+ $variant, )+ }

        impl $crate::config::Choice for $choice {
            const ALL: &[(&str, Self, &str)] = &[$( ($word, $choice::$variant, concat!($($words),+)) ),+];
        }

        impl Default for $choice {
            fn default() -> Self {
                <$choice as $crate::config::Choice>::ALL[0].1
            }
        }

        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self { $( $choice::$variant => $word ),+ })
            }
        }
    };
}

/// One of a few words.
pub(crate) trait Choice: Copy + PartialEq + Send + Sync + 'static {
    /// Each word with its value and what it means.
    const ALL: &'static [(&'static str, Self, &'static str)];
}

pub(super) use {choice, section};
