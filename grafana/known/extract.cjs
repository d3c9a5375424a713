// Which units, reducers, transformations and ways to colour Grafana knows, from its own library, for grafana/known/grafana_data.json:
//   cd $(mktemp -d) && npm i --legacy-peer-deps --ignore-scripts @grafana/data@13.2.3 jsdom@29.1.1 react@19.3.1
//   NODE_PATH=$PWD/node_modules node …/grafana/known/extract.cjs > …/grafana/known/grafana_data.json
// `make grafana-known` does both. Nothing else needs npm.
const { JSDOM } = require('jsdom');
const { window } = new JSDOM('<!doctype html>', { url: 'http://localhost/' });
globalThis.window = window;
for (const name of ['document', 'navigator', 'HTMLElement', 'Element', 'Node', 'location', 'localStorage', 'DOMParser']) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
}
const data = require('@grafana/data');
const path = require('path');
const { version } = require(path.join(path.dirname(require.resolve('@grafana/data')), '..', '..', 'package.json'));
const known = {
  about: 'make grafana-known',
  version,
  units: data.getValueFormats().flatMap((group) => group.submenu.map((unit) => unit.value)).sort(),
  reducers: data.fieldReducers.list().map((reducer) => reducer.id),
  transformers: [...new Set(Object.values(data.standardTransformers).map((transformer) => transformer.id))].sort(),
  colours: data.fieldColorModeRegistry.list().map((mode) => mode.id),
  mappings: Object.values(data.MappingType),
};
process.stdout.write(JSON.stringify(known, null, 1) + '\n');
process.exit(0);
