// Views by the part of the address after '#', so that back and forward work and a view can be sent as a link.
const VIEWS = {'': 'overview', systems: 'systems', clips: 'clips', method: 'method'};
const TITLES = {overview: 'Overview', systems: 'Systems', clips: 'Clips', method: 'Method'};

function route() {
  const path = location.hash.startsWith('#/') ? location.hash.slice(2) : '';
  if (!path.startsWith('system/')) return {view: VIEWS[path] || 'overview'};
  try { return {view: 'system', name: decodeURIComponent(path.slice(7))}; }
  catch { return {view: 'systems'}; }
}

function draw() {
  const {view, name} = route();
  document.querySelectorAll('.view').forEach((section) => { section.hidden = section.id !== 'view-' + view; });
  byId('controls').hidden = !['systems', 'system', 'clips'].includes(view);
  document.querySelectorAll('nav a').forEach((link) => {
    const here = link.getAttribute('href') === '#/' + ({overview: '', system: 'systems'}[view] ?? view);
    if (here) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  });
  document.title = (name || TITLES[view]) + ' · Study report';
  if (view === 'systems') drawSystems();
  if (view === 'system') drawSystem(name);
  if (view === 'clips') clipList(byId('clips-body'));
  return view;
}

function fill(select, labels, chosen) {
  select.replaceChildren(...labels.map((label, i) => element('option', {value: i, selected: i === chosen}, label)));
}

fill(byId('section'), data.sections.map((section) => section.title), state.section);
fill(byId('predictor'), currentSection().predictors, state.predictor);
byId('section').addEventListener('change', (event) => {
  const before = currentPredictor();
  state.section = Number(event.target.value);
  const same = currentSection().predictors.indexOf(before);
  state.predictor = same < 0 ? currentSection().best : same;
  fill(byId('predictor'), currentSection().predictors, state.predictor);
  draw();
});
byId('predictor').addEventListener('change', (event) => {
  state.predictor = Number(event.target.value);
  draw();
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
});
addEventListener('hashchange', () => {
  window.scrollTo(0, 0);
  byId(draw() + '-title').focus({preventScroll: true});
});
addEventListener('beforeprint', () => {
  drawSystems();
  if (route().view !== 'clips') clipList(byId('clips-body'));
});
draw();
