//! Asks a component for the form in which it keeps its state.
//!
//! Promises: a component that exports no `migration` is not run for it; one that does is run under
//! the limits of start-up, in an instance that is thrown away.

use wasmtime::Store;
use weir_wire::admin::Limits;
use weir_wire::ids::PluginName;
use weir_wire::keyspace::Schema;

use crate::effects::Effects;
use crate::engine::Ticking;
use crate::exports::Exports;
use crate::fault::of_call;
use crate::guest::Guest;
use crate::lines::Lines;
use crate::stage::start;

/// Its schema, or a sentence that says why there is none.
pub(crate) fn schema_of(
    exports: &Exports,
    plugin: &PluginName,
    engine: &Ticking,
) -> Result<Schema, String> {
    if !exports.migrates() {
        return Ok(Schema::default());
    }
    // No binding is known yet; all that a binding can give is enough for whatever it will say.
    let limits = Limits { memory_bytes: Limits::MAX.memory_bytes, ..Limits::default() };
    let lines = Lines::new(plugin.clone(), None, limits.log_bytes);
    let mut guest = Guest::new(Effects::new(limits, Vec::new()), lines);
    guest.begin_instance(limits.memory_bytes);
    let mut store = Store::new(engine.engine(), guest);
    start(&mut store, limits.configure_ms);
    let asked = exports.instantiate(&mut store).and_then(|instance| instance.schema(&mut store));
    let raw = asked.map_err(|error| {
        let refused_bytes = store.data().memory.refused_bytes();
        of_call(&error, &limits, limits.configure_ms, refused_bytes).detail
    })?;
    Schema::parse(&raw).map_err(|invalid| invalid.to_string())
}
