// What all views share: the data, and what is chosen.
const data = JSON.parse(document.getElementById('data').textContent);
const state = {section: 0, predictor: data.sections[0].best};
const signed = (value) => (value < 0 ? '−' : '+') + Math.abs(value).toFixed(2);
const figure = (value) => (value === null || Number.isNaN(value) ? '–' : value.toFixed(2));

function shape(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const currentSection = () => data.sections[state.section];
const currentPredictor = () => currentSection().predictors[state.predictor];
const predicted = (clip, section = currentSection()) => {
  // Another target may have been predicted by other models; there, the one of the same name counts.
  const place = section === currentSection() ? state.predictor : section.predictors.indexOf(currentPredictor());
  return place < 0 ? null : section.predictions[place][clip];
};
const difference = (clip, section = currentSection()) => {
  const truth = section.truth[clip], guess = predicted(clip, section);
  return truth === null || guess === null ? null : guess - truth;
};
const systemOf = (clip) => (data.system[clip] < 0 ? '' : data.systems[data.system[clip]]);
const promptOf = (clip) => (data.prompt[clip] < 0 ? '' : data.prompts[data.prompt[clip]]);
const systemLink = (name) => '#/system/' + encodeURIComponent(name.toWellFormed ? name.toWellFormed() : name);
const directionOf = (gap) => (gap > 0 ? 'too-high' : 'too-low');

function judgedClips() {
  return data.ids.map((_, clip) => clip).filter((clip) => difference(clip) !== null);
}
