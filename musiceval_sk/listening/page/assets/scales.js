'use strict';
// What a rater answers on: five points, a slider, or a choice between two clips. Each has element, value and choose.

function scaleTexts(scale) {
  const {question, anchors} = texts.scales[scale] ?? texts.other_scale;
  return {question: filled(question, {scale}), anchors};
}

function createRadios(name, question, options, changed) {
  const radios = options.map(({value, mark, word}) => {
    const input = element('input', {type: 'radio', name, value, onchange: changed});
    return element('label', {class: 'option'}, input, element('span', {class: 'mark', 'aria-hidden': 'true'}, mark), element('span', {class: 'word'}, word));
  });
  const fieldset = element('fieldset', {class: 'scale', disabled: true}, element('legend', {}, question), element('div', {class: 'options'}, ...radios));
  const inputs = [...fieldset.querySelectorAll('input')];
  return {
    name,
    element: fieldset,
    value: () => inputs.find((input) => input.checked)?.value ?? null,
    choose: (number) => inputs[number - 1]?.click(),
  };
}

function createFivePoints(scale, changed) {
  const {question, anchors} = scaleTexts(scale);
  const options = anchors.map((word, index) => ({value: index + 1, mark: index + 1, word}));
  const radios = createRadios(scale, question, options, changed);
  const read = radios.value;
  return {...radios, value: () => read() && Number(read())};
}

function createPreference(changed) {
  const marks = {a: 'A', b: 'B', tie: '=', both_bad: '×'};
  const options = Object.entries(marks).map(([value, mark]) => ({value, mark, word: texts.preference[value]}));
  return createRadios('preference', texts.preference.question, options, changed);
}

function createSlider(scale, changed) {
  const {question, anchors} = scaleTexts(scale);
  let isSet = false;
  const shown = element('output', {class: 'slider-value'}, '–');
  const input = element('input', {type: 'range', name: scale, min: 0, max: 100, step: 1, value: 50, 'aria-valuetext': texts.not_set});
  const set = () => {
    isSet = true;
    shown.textContent = input.value;
    input.setAttribute('aria-valuetext', input.value);
    input.classList.add('set');
    changed();
  };
  // A click on the middle changes no value, so that pointer and keys count as well.
  input.addEventListener('input', set);
  input.addEventListener('pointerup', set);
  input.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && set());
  const words = element('div', {class: 'anchors', 'aria-hidden': 'true'}, ...anchors.map((word) => element('span', {}, word)));
  input.setAttribute('aria-label', question);
  const legend = element('legend', {}, element('span', {}, question), shown);
  const fieldset = element('fieldset', {class: 'scale slider', disabled: true}, legend, input, words);
  return {name: scale, element: fieldset, value: () => (isSet ? Number(input.value) : null), choose: () => {}};
}

function createScales(test, changed) {
  if (test.method === 'pairs') return [createPreference(changed)];
  const create = test.method === 'slider' ? createSlider : createFivePoints;
  return test.scales.map((scale) => create(scale, changed));
}
