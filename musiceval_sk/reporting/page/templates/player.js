// One sound at a time: players on cards, and a docked one for the rows of tables.
const player = byId('player');
const playerAudio = player.querySelector('audio');
const anySound = data.sound.some((sound) => sound !== null);

function soundUrl(clip) {
  const sound = data.sound[clip];
  if (sound !== 1) return sound;
  const held = byId('sound-' + clip);
  return 'data:' + held.dataset.type + ';base64,' + held.textContent;
}

function play(clip) {
  player.hidden = false;
  byId('player-title').textContent = data.ids[clip] + (promptOf(clip) ? ' · ' + promptOf(clip) : '');
  playerAudio.src = soundUrl(clip);
  playerAudio.play().catch(() => {});
}

function playButton(clip) {
  if (!anySound) return null;
  if (data.sound[clip] === null) return element('span', {class: 'silent', title: 'No sound here'}, '·');
  const label = 'Play ' + data.ids[clip];
  return element('button', {type: 'button', class: 'play', 'aria-label': label, onclick: () => play(clip)}, '▶');
}

byId('player-close').addEventListener('click', () => {
  playerAudio.pause();
  player.hidden = true;
});
playerAudio.addEventListener('error', () => {
  byId('player-title').textContent = 'This browser cannot play the sound: it is gone, or of a kind unknown to it.';
});
document.addEventListener('play', (event) => {
  document.querySelectorAll('audio').forEach((other) => other !== event.target && other.pause());
}, true);
