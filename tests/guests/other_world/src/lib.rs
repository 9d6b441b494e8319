//! A sound component of a world that is not Odin's: the host must say what it misses, and load nothing.

#[allow(missing_docs, unreachable_pub, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package elsewhere:greeter@1.0.0;

            interface names {
                whose-turn: func() -> string;
            }

            interface greeting {
                greet: func() -> string;
            }

            world greeter {
                import names;
                export greeting;
            }
        ",
    });
}

struct Greeter;

impl bindings::exports::elsewhere::greeter::greeting::Guest for Greeter {
    fn greet() -> String {
        ["hello, ", &bindings::elsewhere::greeter::names::whose_turn()].concat()
    }
}

bindings::export!(Greeter with_types_in bindings);
