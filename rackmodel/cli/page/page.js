// The page of `rackmodel app`: fields make the words of a command line, its answer is shown.
'use strict';
const at = id => document.getElementById(id);
const make = (name, words = {}, ...inside) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(words)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
};
const drawn = (name, words, text = '') => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(words)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};
const MOST_KEPT = 10;
const COLOURS = ['#1f4e79', '#e69f00', '#2a9d8f', '#b5543c', '#8fb8de', '#6a4c93', '#c9c27a', '#7f8a96'];
const MOST_GPUS = 16384;
let form, verb = 'simulate', values = {}, held = [], answer = null, kept = [], running = false, waiting = false, sent = 0;
let drafting = false, draftAgain = false, answered = '';

const machine = () => form.machines.find(one => one.name === values[verb].topology) || null;
const grouped = number => Number(number).toLocaleString('en-US');
const own = {value: '', text: "the machine's own"};

/* Notches of a slider: {value, text, words}, the words being those of the command line. */
function notches(field) {
  const here = machine(), one = field.option;
  const plain = (value, text = grouped(value)) => ({value, text, words: [one, String(value)]});
  if (field.kind === 'gpus') {
    const unit = here ? here.unit : 8, most = here ? Math.max(unit, Math.min(here.most, MOST_GPUS)) : MOST_GPUS;
    const sizes = new Set();
    for (let n = 1; n * unit <= most; n = n < 16 ? n + 1 : Math.ceil(n * 1.12 / 2) * 2) sizes.add(n * unit);
    return [...sizes].map(size => plain(size));
  }
  if (field.kind === 'batch' || field.kind === 'users') {
    const gpus = values[verb].gpus;
    return field.notches.map(share => ({share, count: Math.max(1, Math.round(share * gpus))}))
      .map(({share, count}) => ({value: share, text: `${share} (${grouped(count)} in all)`, words: [one, String(count)]}));
  }
  if (field.kind === 'cap') return [own, ...(here ? field.notches : []).map(share => plain(Math.round(share * here.power_w), `${grouped(Math.round(share * here.power_w))} W`))
    .map(notch => ({...notch, words: [one, `${notch.value}W`]}))];
  if (field.kind === 'domain') return [own, ...(here ? here.domains : []).map(({size, words}) => ({value: size, text: String(size), words}))];
  if (field.kind === 'price') return [{value: '', text: "the catalog's"}, ...(here && here.usd ? [0.5, 0.75, 1, 1.25, 1.5, 2] : []).map(share => {
    const usd = Math.round(share * here.usd);
    return {value: usd, text: `$${grouped(usd)}`, words: ['--set', `prices.${here.accelerator}.capex_usd=${usd} USD`]};
  })];
  const list = field.notches.map(value => plain(value));
  return field.site ? [{value: '', text: 'as it is'}, ...list] : list;
}
const START = {global_batch: 2, seq_len: 4096, users: 16, isl: 1024, osl: 1024};

function fieldOf(field) {
  const id = `f-${field.name}`, now = values[verb];
  const box = make('div', {class: 'field'}), name = make('label', {for: id}, field.label);
  box.append(name);
  if (field.kind === 'machine' || field.kind === 'model') {
    const list = make('datalist', {id: `${id}-list`});
    const known = field.kind === 'machine' ? form.machines : form.models.map(name => ({name}));
    for (const one of known) list.append(make('option', {value: one.name}, one.title || ''));
    const input = make('input', {id, type: 'text', list: `${id}-list`, autocomplete: 'off', spellcheck: 'false'});
    input.value = now[field.name] || '';
    input.addEventListener('focus', () => input.select());
    input.addEventListener('change', () => { now[field.name] = input.value.trim(); held = []; if (field.kind === 'machine') settle(); build(id); ask(); });
    box.append(input, list);
  } else if (field.kind === 'choice') {
    const input = make('select', {id});
    if (!field.default) input.append(make('option', {value: ''}, 'as it is'));
    for (const word of field.choices) input.append(make('option', {value: word}, word));
    input.value = now[field.name] ?? field.default;
    input.addEventListener('change', () => { now[field.name] = input.value; held = []; ask(); });
    box.append(input);
  } else {
    const list = notches(field), shown = make('output', {for: id});
    if (list.length < 2) return null;
    const input = make('input', {id, type: 'range', min: 0, max: list.length - 1, step: 1});
    const tell = () => { const notch = notches(field)[input.value]; shown.textContent = notch.text; input.setAttribute('aria-valuetext', notch.text); };
    input.value = nearest(list, now[field.name]);
    input.addEventListener('input', () => {
      now[field.name] = notches(field)[input.value].value;
      tell(); if (field.name === 'gpus') retell(); ask();
    });
    box.retell = tell; tell();
    name.append(shown);
    box.append(input);
  }
  box.title = field.help.replaceAll('\n', ' ');
  return box;
}
const nearest = (list, value) => {
  const exact = list.findIndex(one => String(one.value) === String(value ?? ''));
  if (exact >= 0 || typeof value !== 'number') return Math.max(0, exact);
  let best = 0;
  list.forEach((one, index) => { if (typeof one.value === 'number' && Math.abs(one.value - value) < Math.abs(list[best].value - value)) best = index; });
  return best;
};
const retell = () => { for (const box of document.querySelectorAll('.field')) if (box.retell) box.retell(); };

/* After another machine: sliders that count by its parts begin at its own. */
function settle() {
  const now = values[verb], gpus = form.tabs[verb].find(one => one.kind === 'gpus');
  for (const name of ['power_cap_w', 'domain', 'price']) now[name] = '';
  const list = notches(gpus);
  now.gpus = list[nearest(list, now.gpus)].value;
}
function build(focus) {
  const site = make('details', {}, make('summary', {}, 'Domain, power, coolant, prices'));
  site.open = at('form').querySelector('details')?.open ?? innerWidth >= 900;
  const boxes = [];
  for (const field of form.tabs[verb]) {
    const box = fieldOf(field);
    if (box) (field.site ? site : {append: one => boxes.push(one)}).append(box);
  }
  at('form').replaceChildren(...boxes, site);
  if (focus && at(focus)) at(focus).focus({preventScroll: true});
}
function words() {
  const now = values[verb], found = [verb, now.topology];
  for (const field of form.tabs[verb]) {
    if (field.kind === 'machine') continue;
    if (field.kind === 'model') found.push(field.option, now.model);
    else if (field.kind === 'choice') { if (now[field.name] && now[field.name] !== field.default) found.push(field.option, now[field.name]); }
    else {
      const list = notches(field);
      found.push(...(list[nearest(list, now[field.name])].words || []));
    }
  }
  return found;
}
async function post(path, body) {
  const reply = await fetch(path, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body)});
  if (!reply.ok) throw new Error(`the server says ${reply.status}: ${await reply.text()}`);
  return reply.json();
}
/* The closed form answers while the step is simulated: step, parts and HBM; the rest stays grey. */
async function estimate() {
  if (drafting) { draftAgain = true; return; }
  drafting = true;
  do {
    draftAgain = false;
    if (verb !== 'simulate' || !held.length || !answer) break;
    const line = [...words(), ...held].join(' ');
    let found;
    try { found = await post('draft', {words: [...words(), ...held]}); } catch { break; }
    if (found.figures && !draftAgain && line !== answered && verb === 'simulate') showDraft(found);
  } while (draftAgain);
  drafting = false;
}
function showDraft(found) {
  const told = Object.fromEntries(found.figures);
  at('headline').textContent = `${told.step} a step · MFU ${told.MFU} · estimated, simulating`;
  at('message').hidden = true;
  at('result').classList.remove('old');
  at('result').classList.add('drafted');
  at('held').textContent = 'estimated by the closed form (within a few percent as a rule); heat, power and cost are of the step before';
  for (const row of at('figures').rows) {
    const name = row.cells[0].textContent;
    row.className = name in told ? '' : 'before';
    if (name in told) row.cells[1].textContent = told[name];
  }
  bar('parts', found.parts, found.parts.reduce((sum, one) => sum + one.value, 0));
  at('hbm-title').textContent = `HBM of the fullest accelerator, of ${found.hbm_text}`;
  bar('hbm', found.hbm, found.hbm_bytes);
  window.drafted = (window.drafted || 0) + 1;
}
/* One job at a time: what changes while one runs is asked once it is done. */
async function ask() {
  waiting = true;
  estimate();
  if (running) return;
  while (waiting) {
    waiting = false; running = true;
    const mine = verb, plan = held, number = ++sent;
    const begin = performance.now();
    const line = [...words(), ...plan].join(' ');
    const clock = setInterval(() => {
      if (!at('headline').textContent.includes('estimated')) at('headline').textContent = `${plan.length || mine === 'serve' ? 'simulating' : 'searching the best plan'}, ${((performance.now() - begin) / 1000).toFixed(0)} s`;
      at('stop').hidden = false;
    }, 400);
    if (!at('result').classList.contains('drafted')) at('result').classList.add('old');
    let found;
    try { found = await post('run', {words: [...words(), ...plan]}); }
    catch (error) { found = {ok: false, message: `${error.message}; is rackmodel app still running?`}; }
    clearInterval(clock);
    at('stop').hidden = true; running = false;
    if (mine !== verb) { waiting = true; continue; }
    if (found.ok && waiting && plan.length) continue; // a slider has moved on, its estimate is shown
    if (!found.ok && !found.stopped && plan.length) { held = []; waiting = true; at('headline').textContent = `searching anew: ${found.message}`; continue; }
    if (found.stopped) waiting = false;
    answered = line;
    found.verb = mine; found.searched = !plan.length; found.number = number;
    show(found);
    window.shown = {number, ms: performance.now() - begin};
  }
}
function show(found) {
  at('result').classList.remove('drafted');
  at('result').classList.toggle('old', !found.ok);
  at('message').hidden = found.ok;
  if (!found.ok) {
    at('message').textContent = found.message;
    at('headline').textContent = found.stopped ? 'stopped' : 'cannot run';
    return;
  }
  answer = found;
  if (found.searched) held = found.held;
  const told = Object.fromEntries(found.figures);
  at('headline').textContent = found.verb === 'serve' ? `${told['time per token'].split('  ')[0]} a token · bound by ${told['what binds']}`
    : `${told.step.split('  ')[0]} a step · MFU ${told.MFU.split(' ')[0]} · bound by ${told['what binds'].split('  ')[0]}`;
  at('result').hidden = false;
  at('title').textContent = found.title.replaceAll('  ', ' · ');
  at('search').hidden = found.verb === 'serve';
  at('held').textContent = found.verb === 'serve' ? '' : found.searched ? 'plan searched; held while sliders move' : 'plan held';
  at('figures').replaceChildren(...found.figures.filter(([, text]) => text !== '–').map(([name, text]) =>
    make('tr', {}, make('th', {scope: 'row'}, name), make('td', {}, text))));
  at('parts-title').textContent = found.verb === 'serve' ? 'Where a token goes' : 'Where the step goes';
  bar('parts', found.parts, found.parts.reduce((sum, one) => sum + one.value, 0));
  at('hbm-title').textContent = `HBM of the fullest accelerator, of ${found.hbm_text}`;
  bar('hbm', found.hbm, found.hbm_bytes);
  at('rack-title').textContent = found.rack;
  rack(found);
  at('notes').replaceChildren(...found.notes.map(note => make('li', {}, note)));
  at('command').textContent = found.command;
  at('keep').disabled = kept.length >= MOST_KEPT;
}
function bar(id, parts, whole) {
  const look = parts.map((one, index) => ({...one, colour: one.colour || COLOURS[index % COLOURS.length]}));
  at(id).replaceChildren(...look.map(one => {
    const piece = make('span', {title: `${one.name} ${one.text}`});
    piece.style.flex = `0 0 ${100 * one.value / whole}%`;
    piece.style.background = one.colour;
    return piece;
  }));
  at(`${id}-legend`).replaceChildren(...look.map(one => {
    const colour = make('i');
    colour.style.background = one.colour;
    return make('li', {}, colour, `${one.name} ${one.text}`);
  }));
}
const heatColour = share => `hsl(${52 - 42 * share} ${88}% ${92 - 48 * share}%)`;
function rack(found) {
  const trays = found.trays;
  if (!trays.length) {
    at('rack').replaceChildren(make('div', {class: 'bar', id: 'watts'}));
    at('watts-legend')?.remove();
    at('rack-legend').id = 'watts-legend';
    bar('watts', found.watts, found.watts.reduce((sum, one) => sum + one.value, 0));
    at('watts-legend').id = 'rack-legend';
    return;
  }
  at('rack-legend').replaceChildren();
  const wide = innerWidth < 600 ? 215 : 300, high = 15, units = trays.reduce((sum, one) => sum + (one.units || 1), 0);
  const most = Math.max(...trays.map(one => one.heat_w));
  const picture = drawn('svg', {viewBox: `0 0 ${wide + 145} ${units * high + 2}`, role: 'img', 'aria-label': found.rack});
  let y = 1;
  for (const one of trays) {
    const height = (one.units || 1) * high, share = one.heat_w / (most || 1);
    picture.append(drawn('rect', {x: 1, y, width: wide, height: height - 1, fill: heatColour(share), stroke: '#5b6470', 'stroke-width': 0.5}));
    const line = {y: y + height / 2 + 3.5, 'font-size': 10.5};
    const ink = share > 0.75 ? '#fff' : '#1b1f24';
    picture.append(drawn('text', {...line, x: 7, fill: ink}, one.name));
    picture.append(drawn('text', {...line, x: wide - 6, fill: ink, 'text-anchor': 'end'}, one.heat_w >= 1000 ? `${(one.heat_w / 1000).toFixed(2)} kW` : `${one.heat_w.toFixed(0)} W`));
    const degrees = [];
    if (one.coolant_c != null) degrees.push(`coolant ${one.coolant_c.toFixed(0)} °C`); else if (one.exhaust_c != null) degrees.push(`air ${one.exhaust_c.toFixed(0)} °C`);
    if (one.junction_c != null) degrees.push(`die ${one.junction_c.toFixed(0)} °C`);
    picture.append(drawn('text', {...line, x: wide + 9, fill: one.limit_c && one.junction_c > one.limit_c ? '#b3261e' : '#5b6470'}, degrees.join('  ')));
    y += height;
  }
  at('rack').replaceChildren(picture);
}
function compare() {
  at('kept').hidden = !kept.length;
  const names = [...new Set(kept.flatMap(one => one.figures.map(([name]) => name)))];
  const table = at('compared');
  const head = make('tr', {}, make('td', {}), ...kept.map((one, index) => {
    const drop = make('button', {type: 'button', 'aria-label': `drop result ${index + 1}`}, 'drop');
    drop.addEventListener('click', () => { kept.splice(index, 1); store(); compare(); at('keep').disabled = false; });
    return make('th', {scope: 'col'}, `${one.topology}: ${one.title} `, drop);
  }));
  const rows = names.map(name => [name, kept.map(one => Object.fromEntries(one.figures)[name] ?? '–')])
    .filter(([, cells]) => cells.some(cell => cell !== '–'))
    .map(([name, cells]) => make('tr', {}, make('th', {scope: 'row'}, name), ...cells.map(cell => make('td', {}, cell))));
  rows.push(make('tr', {}, make('th', {scope: 'row'}, 'command'), ...kept.map(one => make('td', {}, make('code', {}, one.command)))));
  table.replaceChildren(head, ...rows);
}
const store = () => sessionStorage.setItem('kept', JSON.stringify(kept));
function choose(name) {
  verb = name;
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const mine = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', mine);
    tab.tabIndex = mine ? 0 : -1;
  }
  held = []; at('result').hidden = true; at('message').hidden = true;
  build(); ask();
}
async function start() {
  at('form').addEventListener('submit', event => event.preventDefault());
  at('stop').addEventListener('click', () => post('stop', {}));
  at('search').addEventListener('click', () => { held = []; ask(); });
  at('copy').addEventListener('click', async () => {
    getSelection().selectAllChildren(at('command'));
    try { await navigator.clipboard.writeText(at('command').textContent); at('copy').textContent = 'Copied'; }
    catch { at('copy').textContent = 'Selected: press Ctrl+C'; }
    setTimeout(() => { at('copy').textContent = 'Copy'; }, 2000);
  });
  at('keep').addEventListener('click', () => {
    const {title, figures, command} = answer;
    kept.push({title, figures, command, topology: values[verb].topology});
    store(); compare(); at('keep').disabled = kept.length >= MOST_KEPT;
  });
  for (const tab of document.querySelectorAll('[role=tab]')) {
    tab.addEventListener('click', () => choose(tab.id.slice(4)));
    tab.addEventListener('keydown', event => {
      if (!['ArrowLeft', 'ArrowRight'].includes(event.key)) return;
      const other = [...document.querySelectorAll('[role=tab]')].find(one => one !== tab);
      other.focus(); choose(other.id.slice(4));
    });
  }
  kept = JSON.parse(sessionStorage.getItem('kept') || '[]');
  compare();
  form = await (await fetch('form')).json();
  for (const name of Object.keys(form.tabs)) values[name] = {...START, ...form.start[name]};
  choose('simulate');
}
start();
