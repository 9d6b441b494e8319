//! The table of hooks: what they are called, what they are for, where a component exports them, and with which types.
//! A new hook is one entry here, one file in `wit/`, and one method of the runtime's `PinnedPlugin`.

use std::fmt;

/// Hands the table to another macro. An entry is the hook, its name in logs and metrics, its role, and whether its
/// answer decides anything; then the interface of `odin:plugin`, the function in it, and the field of an instance that
/// holds the function. The types are those of `abi/component/` in the runtime, which is where they are looked up.
#[macro_export]
macro_rules! for_each_hook {
    ($then:ident) => {
        $then! {
            Configure: "configure", Lifecycle, decides true,
                "lifecycle", "configure", { configure: Function<(String,), ()> };
            RequestHeaders: "request-headers", Route, decides true,
                "request-headers", "on-request-headers", { request_headers: Function<(), WitDecision> };
            RequestBody: "request-body", Route, decides true,
                "request-body", "on-request-body", { request_body: PieceFunction<WitPieceDecision> };
            RequestTrailers: "request-trailers", Route, decides true,
                "request-trailers", "on-request-trailers", { request_trailers: Function<(), WitDecision> };
            Balancer: "balancer", Balancer, decides true,
                "balancer", "pick", { pick: Function<(WitSubject,), Option<u32>> };
            ResponseHeaders: "response-headers", Route, decides true,
                "response-headers", "on-response-headers", { response_headers: Function<(), WitDecision> };
            ResponseBody: "response-body", Route, decides true,
                "response-body", "on-response-body", { response_body: PieceFunction<WitPieceDecision> };
            ResponseTrailers: "response-trailers", Route, decides true,
                "response-trailers", "on-response-trailers", { response_trailers: Function<(), WitDecision> };
            ExchangeEnd: "exchange-end", Route, decides false,
                "exchange-end", "on-exchange-end", { exchange_end: Function<(), ()> };
            Connect: "connect", Connection, decides true,
                "connection", "on-connect", { connect: Function<(), WitConnectDecision> };
            DownstreamData: "downstream-data", Connection, decides true,
                "downstream-data", "on-downstream-data", { downstream_data: PieceFunction<WitDataDecision> };
            UpstreamData: "upstream-data", Connection, decides true,
                "upstream-data", "on-upstream-data", { upstream_data: PieceFunction<WitDataDecision> };
            Close: "close", Connection, decides false,
                "connection", "on-close", { close: Function<(), ()> };
            Steer: "steer", Steer, decides true,
                "steer", "weigh", { weigh: Function<(WitBinding,), Vec<WitWeight>> };
        }
    };
}

macro_rules! table {
    ($($hook:ident: $name:literal, $role:ident, decides $decides:literal,
        $interface:literal, $function:literal, { $field:ident: $type:ty };)*) => {
        /// A hook, as named in errors, logs and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Hook {
            $(#[doc = concat!("`", $interface, ".", $function, "`")] $hook,)*
        }

        impl Hook {
            /// Every hook, in the order in which an exchange, and then a TCP connection, meets them; last, what neither
            /// meets.
            pub const ALL: [Hook; [$($name),*].len()] = [$(Hook::$hook),*];
        }

        /// By [`Hook::index`].
        const TABLE: [Entry; Hook::ALL.len()] = [$(
            Entry { name: $name, role: Role::$role, interface: $interface, function: $function }
        ),*];

        impl Hooks {
            const WITH_EXCHANGE: Hooks = Hooks(0 $(| (Role::$role.has_exchange() as u32) << Hook::$hook as u32)*);
            const DECIDING: Hooks = Hooks(0 $(| ($decides as u32) << Hook::$hook as u32)*);
        }
    };
}
for_each_hook!(table);

struct Entry {
    name: &'static str,
    role: Role,
    interface: &'static str,
    function: &'static str,
}

/// What a plugin that exports a hook can be put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: such a hook alone is no work.
    Lifecycle,
    /// To filter exchanges.
    Route,
    /// To pick endpoints.
    Balancer,
    /// To filter TCP connections.
    Connection,
    /// To share out new connections.
    Steer,
}

impl Role {
    const fn has_exchange(self) -> bool {
        matches!(self, Role::Route | Role::Balancer | Role::Connection)
    }
}

impl Hook {
    /// The name for logs and metrics, for example `request-headers`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What a plugin that exports it can be put to.
    pub fn role(self) -> Role {
        self.entry().role
    }

    /// Whether it can refuse an exchange or a connection.
    pub fn can_refuse(self) -> bool {
        matches!(self.role(), Role::Route | Role::Connection) && Hooks::DECIDING.has(self)
    }

    /// The interface of `odin:plugin` that exports it.
    pub fn interface(self) -> &'static str {
        self.entry().interface
    }

    /// Its function in the interface.
    pub fn function(self) -> &'static str {
        self.entry().function
    }

    /// Whether it is called for an exchange or a connection, which has a context.
    #[inline]
    pub fn has_exchange(self) -> bool {
        Hooks::WITH_EXCHANGE.has(self)
    }

    /// Whether its time is the exchange's. The hooks of the end have time of their own: what a client did before must not
    /// keep a plugin from noting it.
    #[inline]
    pub fn is_budgeted(self) -> bool {
        Hooks(Hooks::WITH_EXCHANGE.0 & Hooks::DECIDING.0).has(self)
    }

    /// Its place in [`Hook::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    fn entry(self) -> &'static Entry {
        &TABLE[self.index()]
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of hooks: those that a plugin exports.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hooks(u32);

impl Hooks {
    /// Whether the hook is one of them.
    #[inline]
    pub const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u32) != 0
    }

    /// The hooks of the set, in the order of [`Hook::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Hook> {
        Hook::ALL.into_iter().filter(move |&hook| self.has(hook))
    }
}

impl FromIterator<Hook> for Hooks {
    fn from_iter<I: IntoIterator<Item = Hook>>(hooks: I) -> Self {
        Hooks(hooks.into_iter().fold(0, |bits, hook| bits | 1 << hook as u32))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_its_own_index() {
        for (at, hook) in Hook::ALL.into_iter().enumerate() {
            assert_eq!(hook.index(), at);
        }
    }
}
